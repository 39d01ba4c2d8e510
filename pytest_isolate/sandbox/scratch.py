"""The one directory that a test may write to where it has no file system of its own."""

from __future__ import annotations

import os
import time
from typing import Final

_MODE: Final = 0o700
#: How long a process that is being killed may go on making files.
_LIMIT_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.02


def make(place: str) -> str:
    """Make a directory below *place*, and return its path; raise `OSError` that names it."""
    path = f"{place}/isolate-{os.getpid()}-{os.urandom(6).hex()}"
    try:
        os.mkdir(path, _MODE)
    except OSError as error:
        raise OSError(error.errno, f"mkdir: {error.strerror}", path) from None
    return path


def remove(path: str) -> None:
    """Remove the directory *path* and all in it; raise `OSError` if it cannot be done."""
    import shutil  # noqa: PLC0415  # no sandbox in full needs it, and it imports much

    end = time.monotonic() + _LIMIT_SECONDS
    while os.path.lexists(path):
        try:
            shutil.rmtree(path)
        except OSError:
            if time.monotonic() > end:
                raise
            _open_up(path)
            time.sleep(_PAUSE_SECONDS)


def _open_up(path: str) -> None:
    """Let the owner into every directory below *path*; a test may have closed some."""
    for place, names, _ in os.walk(path):
        for name in names:
            below = os.path.join(place, name)
            if not os.path.islink(below):
                try:
                    os.chmod(below, _MODE)
                except OSError:
                    continue
