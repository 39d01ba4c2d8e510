"""`--isolate-shell`: a shell in the sandbox of a failed test, while what is in there still lives.

The test's process waits meanwhile, or has died. The shell is no child of it: it enters the sandbox
as the test did, but does not join its cgroup, for a cap that has just killed the test would kill
the shell too.
"""

from __future__ import annotations

from contextlib import suppress
import dataclasses
from functools import partial
import os
import shutil
from typing import TYPE_CHECKING
from typing import Final
from typing import final

import pytest

from pytest_isolate._compat import capture
from pytest_isolate._compat import terminal_reporter
from pytest_isolate.options import distributes
from pytest_isolate.options import switched_off
from pytest_isolate.options import wants_shell
from pytest_isolate.policy.settings import BY_NAME
from pytest_isolate.reporting.failures import death_of
from pytest_isolate.sandbox.linux import pidfds
from pytest_isolate.sandbox.linux import terminal
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import TimedOut
from pytest_isolate.sandbox.supervise import execution
from pytest_isolate.session.interaction import wants_debugger
from pytest_isolate.wire.frames import Event

if TYPE_CHECKING:
    from pytest_isolate.sandbox.handle import Sandbox
    from pytest_isolate.sandbox.launch.entry import Entry
    from pytest_isolate.session.interrupts import Interrupts
    from pytest_isolate.wire.channel import Writer
    from pytest_isolate.wire.frames import Frame

_FLAG: Final = "--isolate-shell"
_FALLBACK: Final = "/bin/sh"
#: The name of the event that tells of a shell that could not be executed.
_UNEXECUTED: Final = "unexecuted"
_LONGEST: Final = 200  #: characters of a failure's message that the shell is announced with


def check(config: pytest.Config) -> None:
    """Raise UsageError if a shell is asked for and could not be opened in this run."""
    if not wants_shell(config):
        return
    if switched_off(config):
        msg = f"{_FLAG}: there is no sandbox to open a shell in with --no-isolate"
        raise pytest.UsageError(msg)
    if wants_debugger(config):
        msg = f"{_FLAG}: --pdb and --trace want the terminal as well; choose one of them"
        raise pytest.UsageError(msg)
    if distributes(config) or hasattr(config, "workerinput"):
        msg = f"{_FLAG} is incompatible with distributing tests; try using -n0"
        raise pytest.UsageError(msg)
    with capture.uncaptured(config):
        if not terminal.is_there():
            msg = f"{_FLAG}: standard input is not a terminal, and a shell needs one"
            raise pytest.UsageError(msg)


@final
class Shells:
    """Opens a shell for each failure of one isolated test, whose limit is *timeout* seconds."""

    def __init__(
        self,
        item: pytest.Item,
        sandbox: Sandbox,
        entry: Entry,
        interrupts: Interrupts,
        *,
        timeout: float | None,
    ) -> None:
        self._item = item
        self._sandbox = sandbox
        self._entry = entry
        self._interrupts = interrupts
        self._timeout = timeout
        self._is_over = False

    def open_for_report(self, report: pytest.TestReport) -> None:
        """Open a shell because of *report*, which has failed."""
        if not self._is_over:
            self._open(f"{report.when}: {_summary(report)}")

    def open_for_timeout(self) -> None:
        """Open a shell because the time is over, before everything inside is killed."""
        death = death_of(TimedOut(self._timeout or 0), complete=False)
        self._open(death.line if death else "")
        self._is_over = True

    def _open(self, what: str) -> None:
        terminal_reporter.end_line(self._item.config)
        with capture.uncaptured(self._item.config), terminal.lent(), self._interrupts.looking():
            directory = self._directory()
            _say(
                _rule(f"shell in the sandbox of {self._item.nodeid}"),
                what,
                f"inside: root file system {_root(self._sandbox)}, directory {directory}; no caps",
                "leave with `exit` or Ctrl-D: the run goes on, and what is inside is gone",
            )
            trouble = self._run(directory)
            _say(*([f"No shell: {trouble}"] if trouble else []), _rule("the run goes on"))

    def _directory(self) -> str:
        """Return where the test is now, or where it began."""
        if self._interrupts.pid and self._sandbox.keeping.forks_inside:
            with suppress(OSError):  # it has died
                return os.readlink(f"/proc/{self._interrupts.pid}/cwd")  # noqa: PTH115  # as it reads
        return self._entry.cwd

    def _run(self, directory: str) -> str:
        """Run a shell to its end; return why there was none, or an empty string."""
        failures: list[str] = []

        def hear(frame: Frame) -> None:
            match frame:
                case Event(name, {"error": str(error)}) if name == _UNEXECUTED:
                    failures.append(error)
                case _:
                    pass

        end = execution.run(
            self._sandbox.uncapped(),
            dataclasses.replace(self._entry, keep_fds=(), new_session=False, reopens=False),
            partial(_become_shell, directory),
            on_frame=hear,
        )
        if isinstance(end.outcome, SetupFailed):
            return _why_not(self._sandbox) or str(end.outcome.error)
        return "".join(failures)


def _become_shell(directory: str, writer: Writer) -> None:
    """Be a shell at the terminal, in *directory* if it is still there."""
    with suppress(OSError):
        os.chdir(directory)
    for fd in (1, 2):
        # Of a pytest whose output goes elsewhere.
        if not os.isatty(fd):
            os.dup2(terminal.TERMINAL, fd)
    shells = dict.fromkeys((os.environ.get("SHELL") or _FALLBACK, _FALLBACK))
    failure = terminal.become([[shell] for shell in shells], in_front=True)
    tried = " nor ".join(shells)
    error = f"the sandbox's root has neither {tried}: {failure.strerror}"
    if len(shells) == 1:
        error = f"the sandbox's root has no {tried}: {failure.strerror}"
    writer.send(Event(_UNEXECUTED, {"error": error}))


def _why_not(sandbox: Sandbox) -> str:
    return "the sandbox has died with its test" if pidfds.has_ended(sandbox.init) else ""


def _root(sandbox: Sandbox) -> str:
    return BY_NAME["rootfs"].show(sandbox.spec.root)


def _summary(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = getattr(crash, "message", None) or report.longreprtext or "failed"
    line = text.strip().splitlines()[0]
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."


def _rule(text: str) -> str:
    return f" {text} ".center(shutil.get_terminal_size().columns - 1, ">")


def _say(*lines: str) -> None:
    # On the terminal that the shell has, wherever pytest's own words go.
    words = "".join(f"{line}\n" for line in lines)
    os.write(terminal.TERMINAL, words.encode(errors="backslashreplace"))
