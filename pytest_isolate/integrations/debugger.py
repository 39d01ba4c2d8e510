"""The debugger of an IDE, pydevd (in debugpy, and in PyCharm), which follows forks by itself.

It does so by threads and a connection, right after the fork: no sandbox can be entered then, and in
one the IDE cannot be reached. So the connection is made before, and taken up in the sandbox.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import nullcontext
from contextlib import suppress
from dataclasses import dataclass
import os
import socket
import sys
import threading
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIMIT_SECONDS: Final = 10.0
_NO_PROCESS: Final = 2**22  #: above all ids of processes (proc(5): pid_max)
#: Said where it does not follow.
NOT_FOLLOWED: Final = (
    "isolate: the debugger does not follow into isolated tests, breakpoints there are passed over:"
    " let it debug child processes (subProcess), or use --no-isolate"
)


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection to the IDE, and what cannot be found out in a sandbox."""

    fd: int
    host: str
    port: int
    parent: int  #: the id of pytest's process


def _constants() -> Any:  # noqa: ANN401  # a module of pydevd's
    return sys.modules.get("_pydevd_bundle.pydevd_constants")


def is_attached() -> bool:
    """Return whether the debugger looks at this process."""
    constants = _constants()
    return constants is not None and constants.GlobalDebuggerHolder.global_dbg is not None


def follows() -> bool:
    """Return whether it looks at child processes as well: then it has its own `os.fork`."""
    return is_attached() and hasattr(os, "original_fork")


@contextmanager
def connected() -> Iterator[Connection | None]:
    """Connect to the IDE for one test process, if it wants to follow."""
    connection, client = _connect() or (None, nullcontext())
    with client:
        yield connection


def _connect() -> tuple[Connection, socket.socket] | None:
    pydevd: Any = sys.modules.get("pydevd")
    if pydevd is not None and follows():
        with suppress(OSError, LookupError, TypeError):
            # PyCharm's asks the IDE for another port here.
            host, port = pydevd.dispatch()
            client = socket.create_connection((host, port), _LIMIT_SECONDS)
            client.settimeout(None)
            return Connection(client.fileno(), host, port, os.getpid()), client
    return None


def take_up(connection: Connection | None) -> None:
    """Let the debugger look at this process, a test's, through *connection*, or not at all."""
    if not is_attached():
        return
    if connection is None:
        _leave_alone()
        return
    client = socket.socket(fileno=connection.fd)
    for name in ("pydevd", "_pydevd_bundle.pydevd_comm"):
        vars(sys.modules[name])["start_client"] = lambda _host, _port: client
    pydevd: Any = sys.modules["pydevd"]
    pydevd.dispatch = lambda: (connection.host, connection.port)
    # debugpy's front end tells processes apart by their ids, and all test processes have the same.
    api: Any = sys.modules.get("_pydevd_bundle.pydevd_api")
    commands = sys.modules.get("_pydevd_bundle.pydevd_process_net_command_json")
    if api is not None and commands is not None:
        api.PyDevdAPI.get_ppid = lambda _: connection.parent
        vars(commands)["os"] = _Os(_NO_PROCESS + client.getsockname()[1])
    # As it does in its own `os.fork`.
    monkey: Any = sys.modules["_pydev_bundle.pydev_monkey"]
    monkey._on_forked_process()  # noqa: SLF001  # there is no other


def _leave_alone() -> None:
    """Stop tracing: at a breakpoint the test would wait for ever."""
    _constants().GlobalDebuggerHolder.global_dbg = None
    tracing: Any = sys.modules["pydevd_tracing"]
    tracing.restore_sys_set_trace_func()
    threading.settrace(None)
    sys.settrace(None)
    monitoring: Any = getattr(sys, "monitoring", None)  # from Python 3.12 on
    if monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID):
        monitoring.set_events(monitoring.DEBUGGER_ID, 0)
        monitoring.free_tool_id(monitoring.DEBUGGER_ID)


class _Os:
    """The module `os`, but for the id of this process."""

    def __init__(self, number: int) -> None:
        self._number = number

    def getpid(self) -> int:
        return self._number

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)
