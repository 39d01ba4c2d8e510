"""Files and directories of a cgroup file system: one function a step, errors that name the file.

Nothing here knows which version of cgroups it works on, nor whose the directories are.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from typing import Final

#: How long a killed process may take to leave its cgroup. It is a few milliseconds on a quiet
#: machine, and as long as the freeing of its memory takes on a busy one.
LIMIT: Final = 5.0
_CHUNK: Final = 1 << 16
_FIRST_PAUSE: Final = 0.0005
_LONGEST_PAUSE: Final = 0.02
#: Directories start with two links and get one more for each directory in them; kernfs too.
_LINKS_OF_A_LEAF: Final = 2


def read(path: str) -> str:
    """Return what the file at *path* says."""
    # Half the cost of open().read(): every sandbox is looked at when it ends.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        pieces = []
        while piece := os.read(fd, _CHUNK):
            pieces.append(piece)
    finally:
        os.close(fd)
    return os.fsdecode(b"".join(pieces))


def write(path: str, text: str) -> None:
    """Write *text* to the file at *path*, in the one write(2) that the kernel wants."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, f"write {text} to: {error.strerror}", path) from None
    finally:
        os.close(fd)


def is_root(path: str) -> bool:
    """Return whether *path* is the machine's root group of cgroup v2.

    It may have processes and limited subgroups at once, and has all the controllers there are.
    """
    return not os.path.exists(f"{path}/cgroup.type")


def members(path: str) -> set[int]:
    """Return the processes in the group at *path*, those of its subgroups not included."""
    # A process that this PID namespace does not contain is listed as 0.
    return {int(pid) for pid in read(f"{path}/cgroup.procs").split() if pid != "0"}


def subgroups(path: str) -> list[str]:
    """Return the directories in the one at *path*; a group that is gone has none."""
    try:
        if os.stat(path).st_nlink <= _LINKS_OF_A_LEAF:
            return []
        with os.scandir(path) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []


def kill_members(path: str, limit: float = LIMIT) -> None:
    """Kill every process in the group at *path* and in its subgroups, until there is none.

    It gives up after *limit* seconds: a process in uninterruptible sleep dies later.
    """
    deadline = time.monotonic() + limit
    pause = _FIRST_PAUSE
    while _kill_once(path) and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _kill_once(path: str) -> bool:
    """Signal who is there, and return whether anybody was."""
    found = False
    for subgroup in subgroups(path):
        found |= _kill_once(subgroup)
    try:
        pids = members(path) - {os.getpid()}
        if not pids:
            return found
        _kill_if_still_there(path, pids)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENODEV}:
            raise
        return found
    return True


def _kill_if_still_there(path: str, pids: set[int]) -> None:
    # A number may be another process's by now. The second look at the group is made with the
    # pidfds in hand, so that whoever is signalled was a member.
    pidfds: dict[int, int] = {}
    try:
        for pid in pids:
            try:
                pidfds[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
        for pid in members(path) & pidfds.keys():
            try:
                signal.pidfd_send_signal(pidfds[pid], signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
    finally:
        for pidfd in pidfds.values():
            os.close(pidfd)


def remove(path: str, limit: float = LIMIT) -> None:
    """Remove the group at *path* and its subgroups; one that is gone already is no error.

    The kernel answers EBUSY until the last process has left, which it does some time after its
    death, so this tries for *limit* seconds.
    """
    deadline = time.monotonic() + limit
    pause = _FIRST_PAUSE
    while True:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() >= deadline:
                raise OSError(error.errno, f"rmdir: {error.strerror}", path) from None
        else:
            return
        for subgroup in subgroups(path):
            remove(subgroup, max(0.0, deadline - time.monotonic()))
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
