"""Tests that are talked to while they run: the gate for their reports, and Ctrl-C."""

from __future__ import annotations

from contextlib import ExitStack
from contextlib import contextmanager
from contextlib import suppress
import os
import signal
import threading
from typing import TYPE_CHECKING
from typing import final

from pytest_isolate import _compat
from pytest_isolate.sandbox.supervise.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from pytest_isolate.child.program import Handler
    from pytest_isolate.session.replay import Replay


def gate(stack: ExitStack, replay: Replay) -> int:
    """Return a pipe's end at which the test process waits until its report is shown."""
    gate, opener = (own(stack, fd) for fd in os.pipe2(os.O_CLOEXEC))
    os.set_blocking(opener, False)

    def open_gate() -> None:
        _compat.flush_streams(replay.item.config)
        with suppress(BlockingIOError):  # full: nobody waits there
            os.write(opener, b"+")

    replay.shown = open_gate
    return gate


@final
class Interrupts:
    """A person at the terminal while one test process runs: looks at it, or presses Ctrl-C.

    The first Ctrl-C is the test's, which ends as it would without isolation; the next one kills
    its sandbox. While a debugger has the terminal all of them are the debugger's. With *shared* the
    test process is in the terminal's own process group and hears of them by itself.
    """

    def __init__(self, *, shared: bool) -> None:
        self.clock = Clock()  #: of the test's time limit
        self.pid = 0  #: of the test process
        self._shared = shared
        self._parent = os.getpid()
        self._handler: Handler = None  #: of SIGINT, without us
        self._presses = 0
        self._debugged = False

    def attend(self, stack: ExitStack) -> None:
        """Take over SIGINT until the end of *stack*, unless somebody else has."""
        ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if ours and threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._press)
            stack.callback(signal.signal, signal.SIGINT, self._handler)

    def aim(self, pid: int) -> None:
        """Take note of the test process, which has just been started."""
        self.pid = pid
        if self._presses:
            self._pass_on()

    def debug(self, *, on: bool) -> None:
        """Take note that the test process has entered the debugger, or left it."""
        self._debugged = on
        if on:
            self.clock.stop()
        else:
            self.clock.go_on()

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Stop the clock of the test, which waits or is as good as dead."""
        self.clock.stop()
        try:
            yield
        finally:
            self.clock.go_on()

    def release(self) -> None:
        """Give SIGINT back to Python, in the test process; what came before is not lost."""
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            if self._presses:
                signal.raise_signal(signal.SIGINT)

    def _press(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._parent:  # the test process, on its way
            self._presses += 1
        elif self._debugged:
            self._pass_on()
        elif self._presses:
            signal.default_int_handler(number, frame)
        else:
            self._presses += 1
            self._pass_on()

    def _pass_on(self) -> None:
        if self.pid and not self._shared:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGINT)


def own(stack: ExitStack, fd: int) -> int:
    """Let *stack* close *fd*."""
    stack.callback(os.close, fd)
    return fd
