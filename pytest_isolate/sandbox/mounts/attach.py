"""A file system comes to a place of the new root: a fresh one, or one that is there, bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.mounts.readonly import make_read_only

if TYPE_CHECKING:
    from pytest_isolate.sandbox.mounts.inroot import NewRoot
    from pytest_isolate.sandbox.mounts.values import Bind


def fresh(root: NewRoot, fstype: str, target: str, flags: int = 0, data: str = "") -> None:
    """Mount a new file system on *target*."""
    place = root.make(target, directory=True)
    libc.mount(fstype, place, fstype, flags, data)
    root.mounted(target, empty=True)


def bind(root: NewRoot, mount: Bind) -> None:
    """Mount what *mount* says."""
    place = root.make(mount.target, directory=mount.directory)
    recursive = libc.MS_REC if mount.recursive else 0
    libc.mount(mount.source, place, None, libc.MS_BIND | recursive)
    root.mounted(mount.target, empty=False)
    if mount.read_only:
        attributes = libc.MOUNT_ATTR_RDONLY | libc.MOUNT_ATTR_NODEV
        place = root.find(mount.target)
        make_read_only(place, attributes, recursive=mount.recursive)


def bind_file(root: NewRoot, source: str, target: str) -> None:
    """Mount the file *source* of the host's on *target*, read-only, and a device as well."""
    place = root.make(target, directory=False)
    libc.mount(source, place, None, libc.MS_BIND)
    # A device can be written to all the same, but its mode belongs to the host.
    make_read_only(root.find(target), libc.MOUNT_ATTR_RDONLY, recursive=False)
