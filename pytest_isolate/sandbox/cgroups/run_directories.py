"""Run directories: `pytest-isolate.TOKEN`, one per run and hierarchy, under the run's own group.

Its owner holds an exclusive flock(2) on the directory for as long as it lives, so one that can be
locked has lost its owner and whatever is in it may be removed. Three things make that sound:
tokens are random and never used twice; a lock counts only while the path still leads to the
directory that was locked; and an owner whose directory vanishes, or is locked by a sweeper, between
its mkdir and its flock makes another.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
import errno
import fcntl
import os
import time
from typing import Final

from pytest_isolate.sandbox.cgroups import cgroupfs

PREFIX: Final = "pytest-isolate."
#: On v2, the group below the run directory where pytest itself lives meanwhile.
MAIN: Final = "main"
_ATTEMPTS: Final = 64
_LOCK_PAUSE: Final = 0.005


@dataclass(frozen=True, slots=True)
class Run:
    """A run directory and the descriptor that locks it, owned by whoever has this value."""

    path: str
    fd: int

    def unlock(self) -> None:
        """Let go of the directory: from now on anyone may sweep it."""
        os.close(self.fd)


def base_of(path: str) -> str:
    """Return the group under which runs are to be made by a process in the group at *path*."""
    above, name = os.path.split(path)
    if name == MAIN and os.path.basename(above).startswith(PREFIX):
        return os.path.dirname(above)
    return path


def create(base: str) -> Run:
    """Make and lock a run directory in the group at *base*."""
    for _ in range(_ATTEMPTS):
        path = f"{base}/{PREFIX}{os.urandom(6).hex()}"
        try:
            os.mkdir(path)
        except OSError as error:
            raise OSError(error.errno, f"mkdir: {error.strerror}", path) from None
        run = lock(path)
        if run is not None:
            return run
    raise OSError(errno.EBUSY, f"flock: swept away {_ATTEMPTS} times", base)


def lock(path: str) -> Run | None:
    """Return the run at *path* locked, or None if it has an owner or is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.stat(path)):
            return Run(path, fd)
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None


def find(base: str) -> list[str]:
    """Return the run directories in the group at *base*, dead ones included."""
    return [path for path in cgroupfs.subgroups(base) if os.path.basename(path).startswith(PREFIX)]


def sweep(base: str, mine: str) -> list[str]:
    """Remove what crashed runs left in the group at *base*; return the other runs that live.

    Who locks a directory here also clears it: its owner, if it has just been made, makes another.
    """
    alive = []
    for path in find(base):
        if path == mine:
            continue
        run = lock(path)
        if run is None:
            alive.append(path)
            continue
        # What is somebody else's, or will not die, is not this run's trouble.
        with contextlib.suppress(OSError):
            clear(path)
        run.unlock()
    return alive


def clear(path: str) -> None:
    """Kill and remove the sandboxes in the run directory at *path*, and itself if it is empty.

    Who is in its `MAIN` was put there to get out of the way and stays.
    """
    for group in cgroupfs.subgroups(path):
        if os.path.basename(group) != MAIN:
            cgroupfs.kill_members(group)
            cgroupfs.remove(group)
        elif not cgroupfs.members(group):
            cgroupfs.remove(group)
    if not cgroupfs.subgroups(path):
        cgroupfs.remove(path)


def lock_base(base: str, limit: float) -> int:
    """Return a descriptor of the group at *base* that locks it; raise OSError after *limit*."""
    deadline = time.monotonic() + limit
    fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                os.close(fd)
                raise OSError(error.errno, "flock: another run holds it", base) from None
            time.sleep(_LOCK_PAUSE)
        else:
            return fd
