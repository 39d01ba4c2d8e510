"""Tests that are talked to while they run: by Ctrl-C, in a debugger, from a shell."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import suppress
import os
import signal
import threading
from typing import TYPE_CHECKING
from typing import final

from pytest_isolate.sandbox.supervise.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import Self

    from pytest_isolate.child.program import Handler


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

    def __enter__(self) -> Self:
        """Take over SIGINT, unless somebody else has."""
        free = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if free and threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(self, *_: object) -> None:
        """Give SIGINT back."""
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)

    def aim(self, pid: int) -> None:
        """Take note of the test process, which has just been started."""
        self.pid = pid
        if self._presses:
            self._pass_on()

    def debugger_opened(self) -> None:
        """Take note that the test process has entered the debugger."""
        self._debugged = True
        self.clock.stop()

    def debugger_closed(self) -> None:
        """Take note that it has left the debugger, if it was there."""
        self._debugged = False
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
