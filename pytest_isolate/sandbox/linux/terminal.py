"""The terminal on standard input: lent to a program inside, and taken back as it was."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import suppress
import errno
import fcntl
import os
import signal
import termios
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import Sequence
    from typing import NoReturn

TERMINAL: Final = 0  #: the descriptor

#: What Python ignores from its start on, whatever it was before.
_PYTHONS: Final = (signal.SIGPIPE, signal.SIGXFSZ)
_SHELL: Final = "/bin/sh"


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
        _take(TERMINAL, os.getpgrp())
        with suppress(termios.error):  # it was closed
            termios.tcsetattr(TERMINAL, termios.TCSADRAIN, modes)


def own() -> int:
    """Return a new descriptor of the terminal that controls this session, or -1 without one."""
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1


def take_back(terminal: int, lent: int, modes: list[Any] | None) -> None:
    """Take *terminal* back from the process group *lent*, or from one that is not there any more.

    Whoever else is in the foreground stays there. With *modes*, if this process's group is then.
    """
    with suppress(OSError, termios.error):
        group = os.tcgetpgrp(terminal)
        if group == lent or not _is_there(group):
            _take(terminal, os.getpgrp())
        if modes is not None and os.tcgetpgrp(terminal) == os.getpgrp():
            termios.tcsetattr(terminal, termios.TCSADRAIN, modes)


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def become(
    commands: Sequence[Sequence[str]], mask: Iterable[int] | None = None, *, in_front: bool = False
) -> OSError:
    """Be the first of *commands* that can be executed; return why the last could not.

    What was ignored stays ignored, but for what Python ignores by itself. Of the signals that wait,
    those that *mask* does not block act on it now. *in_front* at the terminal it is a process group
    of its own in the foreground, as a shell starts a job: Ctrl-C is its.
    """
    if in_front and is_there():
        _come_to_the_front()
    for number in signal.valid_signals():
        if number in _PYTHONS or callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    if mask is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    failure = OSError()
    for command in commands:
        try:
            _execute(command)
        except OSError as error:
            failure = error
    return failure


def _execute(command: Sequence[str]) -> NoReturn:
    """Execute *command* as execvp(3) does; raise OSError."""
    name = command[0]
    if not name:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    directories = [""] if "/" in name else os.get_exec_path()
    failure: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for directory in directories:
        path = os.path.join(directory, name)
        try:
            os.execv(path, list(command))  # noqa: S606  # no shell is what is wanted
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            failure = failure if isinstance(failure, PermissionError) else error
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script that does not name its interpreter is the shell's.
            os.execv(_SHELL, [_SHELL, path, *command[1:]])  # noqa: S606  # as above
    raise failure


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
    _take(TERMINAL, os.getpgrp())


def _take(terminal: int, group: int) -> None:
    # Asked from the background this would stop us with SIGTTOU.
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with suppress(OSError):
        os.tcsetpgrp(terminal, group)
    signal.signal(signal.SIGTTOU, before)
