"""Mounts that do not answer: a dead server's, or a program's that has hung.

Whoever so much as asks for the kind of such a file waits without an end, often beyond the reach of
SIGKILL. So each mount that can be like that is looked at by a process that nobody has to wait for.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
import os
import select
import signal
import time
from typing import TYPE_CHECKING
from typing import Final
from typing import NoReturn
from typing import final

from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.sandbox.linux import waits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_isolate.sandbox.linux.mountinfo import MountPoint

#: File systems whose files are somebody else's to give: another machine's, a program's, a
#: hypervisor's. autofs is none of them: nobody goes in there, see `mountinfo`.
MAY_HANG: Final = (
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "fuse",
    "fuse.*",
    "fuseblk",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "panfs",
    "prl_fs",
    "pvfs2",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
    "vmhgfs",
    "wekafs",
)
_DIRECTORY: Final = b"d"
_OTHER: Final = b"f"
_ANSWERED: Final = b"."
_LAST_FD: Final = 1 << 20


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """A mount that has not answered."""

    target: str
    fstype: str
    directory: bool = True  #: a directory is mounted, and not a file

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.target} ({self.fstype})"

    def holds(self, path: str) -> bool:
        """Return whether *path* lies on it, or on something that is mounted below it."""
        return path == self.target or path.startswith(f"{self.target.rstrip('/')}/")


@final
@dataclass(slots=True)
class _Look:
    """A process that looks at one mount, and what it has said."""

    mount: MountPoint
    pid: int
    answer: int
    words: bytes = b""
    over: bool = False


def find(mounts: tuple[MountPoint, ...]) -> tuple[Silent, ...]:
    """Return which of *mounts* do not answer in time; what lies on those is not told of.

    Takes no process and no time where nothing is mounted that may hang.
    """
    if not any(may_hang(mount.fstype) for mount in mounts):
        return ()
    seen = (mount for mount in mountinfo.visible(mounts) if mount.target != "/")
    looks = [_begin(mount) for mount in seen if may_hang(mount.fstype)]
    _hear(looks, time.monotonic() + waits.LOOK)
    for look in looks:
        _end(look)
    found: list[Silent] = []
    for look in sorted((look for look in looks if not look.over), key=lambda one: one.mount.target):
        target, fstype = look.mount.target, look.mount.fstype
        if not any(one.holds(target) for one in found):
            directory = look.words != _OTHER
            found.append(Silent(target=target, fstype=fstype, directory=directory))
    return tuple(found)


def may_hang(fstype: str) -> bool:
    """Return whether files of this type are somebody else's to give."""
    return any(fnmatchcase(fstype, pattern) for pattern in MAY_HANG)


def _begin(mount: MountPoint) -> _Look:
    answer, answer_end = os.pipe2(os.O_CLOEXEC)
    pid = libc.fork()  # the caller may have threads, whose locks this child takes none of
    if pid == 0:
        _look_at(mount.target, answer_end)
    os.close(answer_end)
    return _Look(mount=mount, pid=pid, answer=answer)


def _look_at(path: str, answer: int) -> NoReturn:
    """Say of what kind *path* is, which takes no answer of it, and then that there was one."""
    try:
        os.dup2(answer, 0)
        # Nobody may take this process, which can outlive all others, for the end of a pipe.
        os.closerange(1, _LAST_FD)
        try:
            os.close(os.open(path, os.O_PATH | os.O_DIRECTORY))
        except NotADirectoryError:
            os.write(0, _OTHER)
        else:
            os.write(0, _DIRECTORY)
            # What is asked for last is never in a cache.
            with os.scandir(path) as entries:
                next(entries, None)
        os.stat(path)
        os.statvfs(path)
    except OSError:  # an answer as well
        pass
    finally:
        os.write(0, _ANSWERED)
        os._exit(0)


def _hear(looks: Iterable[_Look], end: float) -> None:
    waiting = {look.answer: look for look in looks}
    poll = select.poll()
    for fd in waiting:
        poll.register(fd, select.POLLIN)
    while waiting and (left := end - time.monotonic()) > 0:
        for fd, _ in poll.poll(left * 1000):
            look = waiting[fd]
            data = os.read(fd, 2)
            look.words += data
            # A process that was killed has said nothing against the mount.
            if not data or look.words.endswith(_ANSWERED):
                look.over = True
                poll.unregister(fd)
                del waiting[fd]


def _end(look: _Look) -> None:
    os.close(look.answer)
    if not look.over:
        os.kill(look.pid, signal.SIGKILL)
        os.waitpid(look.pid, os.WNOHANG)  # it dies when it can, and is nobody's concern
    else:
        waits.reap(look.pid)
