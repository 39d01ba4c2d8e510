"""The processes that are still in a sandbox when its test is over."""

from __future__ import annotations

from operator import attrgetter
import time
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.linux import process_tree
from pytest_isolate.sandbox.supervise.snapshot import read_processes

if TYPE_CHECKING:
    from pytest_isolate.sandbox.supervise.snapshot import ProcessInfo

#: How long processes may take to be gone: some have been told to end, and are about to.
_LIMIT_SECONDS: Final = 0.2
_PAUSE_SECONDS: Final = 0.02
_NOBODY: Final = 0  #: the process that was put into the sandbox is gone


def staying(init: int) -> tuple[ProcessInfo, ...]:
    """Return the processes that stay in the PID namespace of the pidfd *init*, without that."""
    end = time.monotonic() + _LIMIT_SECONDS
    while found := read_processes(process_tree.namespace_of(init), _NOBODY):
        if time.monotonic() > end:
            break
        time.sleep(_PAUSE_SECONDS)
    return tuple(sorted(found, key=attrgetter("pid")))
