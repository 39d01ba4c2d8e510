"""A process beside this one in its group, which tells what was sent to the group as a whole.

A signal says who has sent it, not to whom. A terminal's Ctrl-C, a shell's `kill %1` and its SIGCONT
go to every process of a job, one that somebody passes signals on to among them: it must not get
them twice. The witness blocks every signal and looks at none, so what waits at it was sent to all.
Of a group the kernel serves the youngest first: the witness has it before this process is told.
"""

from __future__ import annotations

from contextlib import suppress
import os
import posix
import select
import signal
from typing import Final
from typing import NoReturn
from typing import final

#: A witness that does not answer was stopped together with the group, and not continued.
_LIMIT_SECONDS: Final = 1.0


@final
class Witness:
    """The other process; every signal has to be blocked here when it is made."""

    def __init__(self) -> None:
        asked, self._ask = os.pipe2(os.O_CLOEXEC)
        self._answer, answer = os.pipe2(os.O_CLOEXEC)
        self._late = 0  #: answers that are still to come
        self._pid = posix.fork()
        if self._pid == 0:
            _remember(asked, answer)
        os.close(asked)
        os.close(answer)

    def got(self, number: int) -> bool:
        """Return whether *number*, which this process has just got, was sent to its group."""
        try:
            os.write(self._ask, bytes((number,)))
        except BrokenPipeError:  # somebody has killed it
            return False
        self._late += 1
        told = b""
        while self._late:
            if not _is_readable(self._answer):
                # Its answer to this one is of no use: it is itself about to be continued.
                os.kill(self._pid, signal.SIGCONT)
                os.write(self._ask, bytes((signal.SIGCONT,)))
                self._late += 1
                return False
            told = os.read(self._answer, 1)
            if not told:
                return False
            self._late -= 1
        return told == b"+"

    def close(self) -> None:
        """Let it go."""
        os.close(self._ask)
        os.close(self._answer)
        with suppress(ChildProcessError, ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)


def _is_readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(_LIMIT_SECONDS * 1000))


def _remember(asked: int, answer: int) -> NoReturn:
    """Answer what is asked until nobody can ask any more."""
    try:
        # What was handed through is the command's: a pipe ends when that has closed it.
        for name in os.listdir("/proc/self/fd"):
            if int(name) not in {asked, answer}:
                with suppress(OSError):  # the descriptor of the listing
                    os.close(int(name))
        while number := os.read(asked, 1):
            waits = signal.sigtimedwait(set(number), 0) is not None
            os.write(answer, b"+" if waits else b"-")
    finally:
        os._exit(0)
