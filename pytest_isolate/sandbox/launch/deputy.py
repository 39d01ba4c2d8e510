"""Stands for a child before those who take this process for it: a shell, a supervisor, a terminal.

Every signal that can be is passed on to the child, once. When the child stops, this process stops,
by the same signal, so that a shell sees its job stop; when this one is continued, so is the child.
The child's end is somebody else's to wait for.
"""

from __future__ import annotations

from contextlib import suppress
import os
import signal
from typing import TYPE_CHECKING
from typing import Final
from typing import final

if TYPE_CHECKING:
    from collections.abc import Callable

#: What can be blocked, and so be waited for. A fault of this process's own ends it all the same.
EVERY: Final = frozenset(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
#: What stops a process that would use the terminal from the background.
_DENIED: Final = (signal.SIGTTIN, signal.SIGTTOU)


@final
class Deputy:
    """Of the child *pid*. All of `EVERY` has to be blocked, in all threads.

    *send* sends it a signal, *is_for_child* says whether one is to be passed on. *terminal* is a
    descriptor of the one that the child shares with this process, or -1.
    """

    def __init__(
        self,
        pid: int,
        send: Callable[[int], None],
        is_for_child: Callable[[signal.struct_siginfo], bool],
        terminal: int,
    ) -> None:
        self._pid = pid
        self._send_to_child = send
        self._is_for_child = is_for_child
        self._terminal = terminal
        self._has_stopped = False  #: when that was last looked for
        self._lent = -1  #: the process group that has got the terminal from here

    @property
    def lent(self) -> int:
        """The process group that has got the terminal from here, or -1."""
        return self._lent

    def next(self) -> None:
        """Wait for one signal, and do what it asks for."""
        info = signal.sigwaitinfo(EVERY)
        if info.si_signo == signal.SIGCHLD:
            self._look()
            if info.si_code > 0:  # of the kernel's, for a child of this process
                return
        if info.si_signo == signal.SIGCONT:
            self._go_on(info)
        elif self._concerns_child(info):
            self._send(info.si_signo)

    def _look(self) -> None:
        """Stop if the child has."""
        try:
            stop = os.waitid(os.P_PID, self._pid, os.WSTOPPED | os.WNOHANG)
        except ChildProcessError:
            return
        if stop is None:
            return
        self._has_stopped = True
        # By SIGCONT somebody has said since that this process is to go on, and so the child.
        if signal.SIGCONT in signal.sigpending():
            return
        if stop.si_status in _DENIED and self._lend():
            self._continue()
            return
        had_terminal = self._lent >= 0 and _foreground(self._terminal) == self._lent
        self._lent = self._lent if had_terminal else -1
        # Raised first, and then let through together with the one that the terminal has sent to the
        # whole group: what continues a process takes back all that would stop it.
        signal.raise_signal(stop.si_status)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {stop.si_status})
        signal.pthread_sigmask(signal.SIG_BLOCK, {stop.si_status})

    def _go_on(self, info: signal.struct_siginfo) -> None:
        concerns_child = self._concerns_child(info)
        if self._lent >= 0:
            self._lend()
        if concerns_child or self._is_stopped():
            self._continue()

    def _concerns_child(self, info: signal.struct_siginfo) -> bool:
        is_for_child = self._is_for_child(info)
        # One that has left the job's group gets what is sent to the job from here alone.
        has_left = self._terminal >= 0 and self._group() != os.getpgrp()
        return is_for_child or has_left

    def _lend(self) -> bool:
        """Hand the terminal to the child's own process group, if this one's has it.

        As a shell's that makes a group of its own: it cannot see that it is in the foreground
        already, for the numbers of outer groups are nothing in a PID namespace.
        """
        if self._terminal < 0:
            return False
        group = self._group()
        if group == os.getpgrp() or _foreground(self._terminal) != os.getpgrp():
            return False
        with suppress(OSError):
            os.tcsetpgrp(self._terminal, group)
            self._lent = group
            return True
        return False

    def _continue(self) -> None:
        group = self._group()
        if group == os.getpgrp():
            self._send(signal.SIGCONT)
        else:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(group, signal.SIGCONT)

    def _send(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):  # it is gone, or another user's by now
            self._send_to_child(number)

    def _group(self) -> int:
        try:
            return os.getpgid(self._pid)
        except ProcessLookupError:
            return os.getpgrp()

    def _is_stopped(self) -> bool:
        # Not by /proc, where a relay sees the child's own processes only.
        with suppress(ChildProcessError):
            flags = os.WSTOPPED | os.WCONTINUED | os.WNOHANG
            while change := os.waitid(os.P_PID, self._pid, flags):
                self._has_stopped = change.si_code != os.CLD_CONTINUED
        return self._has_stopped


def _foreground(terminal: int) -> int:
    try:
        return os.tcgetpgrp(terminal)
    except OSError:  # it has hung up
        return -1
