"""Mounts are made read-only, on kernels and in containers that know mount_setattr(2) or do not."""

from __future__ import annotations

import errno
import os
from typing import Final

from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.linux import mountinfo

#: The flags of statvfs(3) that a remount must repeat, by the MS_* flag of mount(2).
_KEPT_FLAGS: Final = {
    os.ST_NOSUID: libc.MS_NOSUID,
    os.ST_NODEV: libc.MS_NODEV,
    os.ST_NOEXEC: libc.MS_NOEXEC,
    os.ST_NOATIME: libc.MS_NOATIME,
    os.ST_NODIRATIME: libc.MS_NODIRATIME,
    os.ST_RELATIME: libc.MS_RELATIME,
}


def make_read_only(place: str, attributes: int, *, recursive: bool) -> None:
    """Add the MOUNT_ATTR_* of *attributes*, with MOUNT_ATTR_RDONLY, to the mount at *place*."""
    try:
        libc.mount_setattr(place, set_=attributes, recursive=recursive)
    except OSError as error:
        # podman's default seccomp filter does not know the call; older ones answer EPERM.
        if error.errno not in {errno.ENOSYS, errno.EPERM, errno.EACCES}:
            raise
        for path in _mounts_below(place) if recursive else (place,):
            _remount_read_only(path, attributes)


def _remount_read_only(path: str, attributes: int) -> None:
    """Do as mount_setattr(2) by mount(2), which resets what it is not told."""
    now = os.statvfs(path).f_flag
    kept = sum(flag for bit, flag in _KEPT_FLAGS.items() if now & bit)
    if attributes & libc.MOUNT_ATTR_NODEV:
        kept |= libc.MS_NODEV
    flags = libc.MS_REMOUNT | libc.MS_BIND | libc.MS_RDONLY
    libc.mount(None, path, None, flags | kept)


def _mounts_below(place: str) -> list[str]:
    top = os.path.realpath(place)
    below = [mount.target for mount in mountinfo.visible(mountinfo.current())]
    return [path for path in below if path == top or path.startswith(f"{top}/")]
