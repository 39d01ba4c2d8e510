"""What goes between the command and the one who has started it: signals, stops, the terminal."""

from __future__ import annotations

from contextlib import suppress
import os
import signal
import termios
import threading
from typing import TYPE_CHECKING
from typing import Self
from typing import final

from pytest_isolate.sandbox.launch.deputy import EVERY
from pytest_isolate.sandbox.launch.deputy import Deputy
from pytest_isolate.sandbox.launch.witness import Witness
from pytest_isolate.sandbox.linux import terminal

if TYPE_CHECKING:
    from pytest_isolate.sandbox.launch.given import Given


@final
class Passing:
    """Around a command's life: from before its fork on every signal waits until it is passed on.

    With a terminal the command stays in this process's group, the job that its shell knows.
    """

    def __init__(self, given: Given) -> None:
        self._given = given
        self.terminal = terminal.own()
        self._witness: Witness | None = None
        self._deputy: Deputy | None = None
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self._is_over = False
        self._sent_to_all: set[int] = set()
        self._early: set[int] = set()  #: what waited here when the command's process was there

    def __enter__(self) -> Self:
        """Have every signal wait."""
        self._given.hold()
        if self.terminal >= 0:
            self._modes = termios.tcgetattr(self.terminal)
            self._witness = Witness()
        return self

    def __exit__(self, *_: object) -> None:
        """Pass nothing on any more."""
        self._is_over = True
        if self._deputy is not None:
            while self._thread.is_alive():
                # Any signal wakes it; one that is sent to a thread only the thread gets.
                with suppress(ProcessLookupError):
                    signal.pthread_kill(self._thread.ident or 0, signal.SIGCHLD)
                self._thread.join(0.1)
            os.close(self._pidfd)
            # What has come since has nobody to go to any more.
            while info := signal.sigtimedwait(EVERY, 0):
                self._is_for_command(info)
        if self._witness is not None:
            self._witness.close()
        # If nothing was started, what has come in the meantime ends this process, as usual.
        self._given.let_go()

    def start(self, pid: int) -> None:
        """Pass on to process *pid*, or its relay, what has come by now, and what comes."""
        # The command's process blocks all signals at first: what it has got as well becomes one.
        self._early = set(signal.sigpending())
        self._pidfd = os.pidfd_open(pid)
        self._deputy = Deputy(pid, self._send, self._is_for_command, self.terminal)
        self._thread.start()
        self._given.hand_over()

    def settle_terminal(self, *, in_order: bool) -> None:
        """Take back the terminal that the command's own group has had, or has left to nobody.

        With its modes as they were, if the command has not ended *in_order*: by itself.
        """
        if self.terminal < 0:
            return
        lent = -1 if self._deputy is None else self._deputy.lent
        terminal.take_back(self.terminal, lent, None if in_order else self._modes)

    @property
    def is_interrupted(self) -> bool:
        """Whether Ctrl-C went to the whole job, of which a shell has started this process."""
        is_first = os.getsid(0) == os.getpid()
        return signal.SIGINT in self._sent_to_all and not is_first

    def _pass_on(self) -> None:
        deputy = self._deputy
        while deputy is not None and not self._is_over:
            deputy.next()

    def _send(self, number: int) -> None:
        signal.pidfd_send_signal(self._pidfd, number)

    def _is_for_command(self, info: signal.struct_siginfo) -> bool:
        if self._witness is None or not self._witness.got(info.si_signo):
            return True
        self._sent_to_all.add(info.si_signo)
        is_early = info.si_signo in self._early
        self._early.discard(info.si_signo)
        return is_early
