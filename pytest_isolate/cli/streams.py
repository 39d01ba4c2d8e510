"""What is said on standard streams, which may be full, or a pipe that nobody reads any more."""

from __future__ import annotations

from contextlib import suppress
import os
import sys
from typing import TYPE_CHECKING
from typing import Final

if TYPE_CHECKING:
    from typing import TextIO

_LOST: Final = 1  #: the status, if what was to be said could not be


def complain(line: str) -> None:
    """Say *line* on standard error, if anybody can hear it."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def say(text: str, status: int) -> int:
    """Say *text* on standard output; return *status*, or another if that is lost.

    A reader that has left, as `head` does, has heard what it wanted.
    """
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        _give_up(sys.stdout)
    except OSError as error:
        return _lost(error, status)
    return flush(status)


def flush(status: int) -> int:
    """Have everything said by now; return as `say`."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up(sys.stdout)
    except OSError as error:
        status = _lost(error, status)
    try:
        sys.stderr.flush()
    except OSError:
        _give_up(sys.stderr)
    return status


def _lost(error: OSError, status: int) -> int:
    _give_up(sys.stdout)
    complain(f"pytest_isolate: standard output: {error.strerror}")
    return status or _LOST


def _give_up(stream: TextIO) -> None:
    """Have Python's last flush of *stream* go nowhere, where it would complain in its own way."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()
