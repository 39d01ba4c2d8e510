"""The terminal on standard input: lent to a program inside, and taken back as it was."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import suppress
import fcntl
import os
import signal
import termios
from typing import TYPE_CHECKING
from typing import Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence

TERMINAL: Final = 0  #: the descriptor

#: What Python ignores, and what is handled by whoever starts a program.
_RESET: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ)


def is_there() -> bool:
    """Return whether standard input is a terminal."""
    return os.isatty(TERMINAL)


@contextmanager
def lent() -> Iterator[None]:
    """Take the terminal back, with its modes as they are now, when the borrower has ended."""
    if not is_there():
        yield
        return
    modes = termios.tcgetattr(TERMINAL)
    try:
        yield
    finally:
        _take(os.getpgrp())
        with suppress(termios.error):  # it was closed
            termios.tcsetattr(TERMINAL, termios.TCSADRAIN, modes)


def become(commands: Sequence[Sequence[str]]) -> OSError:
    """Be the first of *commands* that can be executed; return why the last could not.

    With a terminal it is a process group of its own in the foreground, as a shell starts a job:
    Ctrl-C is its.
    """
    if is_there():
        _come_to_the_front()
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
    failure = OSError()
    for command in commands:
        try:
            os.execvp(command[0], list(command))  # noqa: S606  # no shell is what is wanted
        except OSError as error:
            failure = error
    return failure


def _come_to_the_front() -> None:
    try:
        os.tcgetpgrp(TERMINAL)
    except OSError:
        # Not the terminal of this session: job control needs one that is, if nobody else has it.
        os.setsid()
        with suppress(OSError):
            fcntl.ioctl(TERMINAL, termios.TIOCSCTTY, 0)
        return
    os.setpgid(0, 0)
    _take(os.getpgrp())


def _take(group: int) -> None:
    # Asked from the background this would stop us with SIGTTOU.
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with suppress(OSError):
        os.tcsetpgrp(TERMINAL, group)
    signal.signal(signal.SIGTTOU, before)
