"""Plain files of the host's, copied into a sandbox where no overlay can be had."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING
from typing import Final

if TYPE_CHECKING:
    from pytest_isolate.sandbox.mounts.inroot import NewRoot
    from pytest_isolate.sandbox.mounts.values import Copy

#: What was a plain file when it was planned may be anything by now.
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def copy(root: NewRoot, mount: Copy) -> str:
    """Copy the file of *mount* into *root*; return why it is not to be copied, or ""."""
    try:
        source = os.open(mount.source, _FLAGS)
    except PermissionError:  # it can be written to all the same
        return "no overlay beside a mount, and not to be read"
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode) or status.st_size > mount.size_limit:
            return "no overlay beside a mount, and has grown"
        mode = stat.S_IMODE(status.st_mode)
        _fill(root.make(mount.target, directory=False, mode=mode), source, status)
    finally:
        os.close(source)
    return ""


def _fill(place: str, source: int, status: os.stat_result) -> None:
    """Write what *source* has to the fresh file *place*, which gets the times of *status*."""
    fd = os.open(place, os.O_WRONLY | os.O_CLOEXEC)
    try:
        left = status.st_size
        while left > 0 and (written := os.sendfile(fd, source, None, left)):
            left -= written
        os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(fd)
