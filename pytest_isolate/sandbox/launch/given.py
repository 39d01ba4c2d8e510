"""What a program was started with, kept for the command that it runs: descriptors and signals.

Taken before anything else is imported, and so with few imports of its own.
"""

from __future__ import annotations

from contextlib import suppress
import io
import os
import signal
import sys
from typing import Final
from typing import final

from pytest_isolate.sandbox.launch.deputy import EVERY

_STANDARD: Final = (0, 1, 2)
#: Until there is a command these do what they do to any program that is being started: end it, or
#: stop it. All others wait.
_AT_ONCE: Final = frozenset({
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
    *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),
})
#: Environment variables with the pid of the process that they are meant for.
_PIDS: Final = ("LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID")
#: The same in another way, see sd_listen_fds(3): without it the pid alone counts.
_PIDFD: Final = "LISTEN_PIDFDID"


@final
class Given:
    """What this process was started with."""

    def __init__(self) -> None:
        #: What this process has blocked by itself, which the command inherits.
        self.mask: set[int] = set(signal.pthread_sigmask(signal.SIG_BLOCK, EVERY - _AT_ONCE))
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # Ctrl-C ends this program as the other signals do: in silence.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        _stand_in_for_closed()
        #: Descriptors besides the standard ones; Python's own are closed for a command.
        self.fds: tuple[int, ...] = tuple(fd for fd in _open() if fd not in _STANDARD)
        self._pid = str(os.getpid())

    def hold(self) -> None:
        """Let the remaining signals wait, too."""
        signal.pthread_sigmask(signal.SIG_BLOCK, EVERY)

    def let_go(self) -> None:
        """Let signals do what they do: what has come acts now."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)

    def hand_over(self) -> None:
        """Close what the command has by now, but for standard error: a pipe ends with it alone."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        for fd in (0, 1):
            os.dup2(null, fd)
        for fd in (null, *self.fds):
            with suppress(OSError):
                os.close(fd)

    def set_environment(self) -> None:
        """In the command's process, give it the environment that it would have in this one."""
        for name in _PIDS:
            if os.environ.get(name) == self._pid:
                os.environ[name] = str(os.getpid())
                os.environ.pop(_PIDFD, None)


def forget_coercion() -> None:
    """Take back what Python adds to the environment in the C locale (PEP 538)."""
    with suppress(OSError), open("/proc/self/environ", "rb") as file:
        if not any(entry.startswith(b"LC_CTYPE=") for entry in file.read().split(b"\0")):
            os.environ.pop("LC_CTYPE", None)


def _stand_in_for_closed() -> None:
    """Keep the numbers of standard streams that are closed from being anything else's.

    They are closed again when a command is executed.
    """
    for fd in _STANDARD:
        try:
            os.fstat(fd)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    # So that whoever writes need not ask.
    sys.stdout = sys.stdout or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()


def _open() -> list[int]:
    """Return the open descriptors that a program inherits."""
    found = []
    with suppress(OSError):
        for fd in map(int, os.listdir("/proc/self/fd")):
            with suppress(OSError):  # the descriptor of the listing
                if os.get_inheritable(fd):
                    found.append(fd)
    return found
