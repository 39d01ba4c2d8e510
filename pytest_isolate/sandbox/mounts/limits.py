"""The sandbox's limits, where programs look for theirs: its own control groups, in /sys/fs/cgroup.

A JVM, node, Go or .NET sizes itself by the limit that it finds there. Laid out as containers have
it: of version 2 the group itself is mounted, of version 1 a directory with one mount a hierarchy.
Both agree with /proc/self/cgroup and /proc/self/mountinfo, because the processes inside are in a
cgroup namespace whose root is the group. Nobody else's group can be reached from it, for a bind of
a directory has nothing above.

All of it is read-only, and mounted before the test's user namespace is entered, so that this is
locked: else the root of the sandbox could raise its limits.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import suppress
import os
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.mounts.readonly import make_read_only

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_isolate.sandbox.cgroups.shown import Shown
    from pytest_isolate.sandbox.mounts.inroot import NewRoot
    from pytest_isolate.sandbox.mounts.values import Limits

#: The key of the hierarchy of version 2; those of version 1 are called by their controllers.
UNIFIED: Final = ""
_UNIFIEDS_NAME: Final = "unified"  #: of its directory beside those of version 1
_MEMORY: Final = "memory"
#: The files of the limit, by version. Where the kernel's limit lies a little above the cap, see
#: `cgroups.oom_notifier`, it is the cap that programs have to know.
_UNIFIED_LIMIT: Final = "memory.max"
_LEGACY_LIMIT: Final = "memory.limit_in_bytes"


def show(root: NewRoot, mount: Limits, shown: Shown | None, spare: str) -> None:
    """Mount what is *shown* on the place of *mount*; *spare* is the start of new names.

    Without any group, nobody else's are seen either. Raises OSError.
    """
    if mount.covers:
        _take_off(root, mount.target)
    if shown is None or not shown.groups:
        cover(root, mount)
        return
    is_unified = list(shown.groups) == [UNIFIED]
    if is_unified:
        _bind(shown.groups[UNIFIED], root.find(mount.target))
    else:
        _mount_directory(root, mount)
    place = root.find(mount.target)
    try:
        if not is_unified:
            _mount_hierarchies(place, shown, f"{spare}.none")
        if mount.memory is not None:
            limit = _UNIFIED_LIMIT if is_unified else f"{_MEMORY}/{_LEGACY_LIMIT}"
            _say(f"{mount.memory}\n", spare, f"{place}/{limit}")
        _lock(place, recursive=True)
    except OSError:
        # What is not read-only must not stay.
        libc.umount2(root.find(mount.target), libc.MNT_DETACH)
        raise


def cover(root: NewRoot, mount: Limits) -> None:
    """Hide what is at the place of *mount* below an empty directory, if anything is."""
    if mount.covers and _is_mounted(root.find(mount.target)):
        _mount_directory(root, mount)
        _lock(root.find(mount.target), recursive=False)


@contextmanager
def kept(root: NewRoot, target: str, *, moves: bool) -> Iterator[None]:
    """Have what is mounted on *target* there after what is mounted above it meanwhile.

    It *moves* unless it is locked, which a copy of it still is in its being read-only.
    """
    fd = _open_mount(root, target)
    try:
        yield
        if fd >= 0:
            how = libc.MS_MOVE if moves else libc.MS_BIND | libc.MS_REC
            libc.mount(f"/proc/self/fd/{fd}", root.find(target), None, how)
    finally:
        if fd >= 0:
            os.close(fd)


def _open_mount(root: NewRoot, target: str) -> int:
    if not target:
        return -1
    try:
        place = root.find(target)
    except OSError:
        return -1
    return os.open(place, os.O_PATH | os.O_CLOEXEC) if _is_mounted(place) else -1


def _is_mounted(place: str) -> bool:
    return os.stat(place).st_dev != os.stat(f"{place}/..").st_dev


def _take_off(root: NewRoot, target: str) -> None:
    """Unmount what is at *target*: what is only covered would still be in mountinfo.

    In a user namespace it is locked, and can only be covered.
    """
    with suppress(OSError):
        while _is_mounted(root.find(target)):
            libc.umount2(root.find(target), libc.MNT_DETACH)


def _mount_directory(root: NewRoot, mount: Limits) -> None:
    libc.mount("tmpfs", root.find(mount.target), "tmpfs", libc.MS_NODEV, "mode=755,size=64k")


def _mount_hierarchies(place: str, shown: Shown, nothing: str) -> None:
    """Mount version 1 in the directory *place*; *nothing* is a new one."""
    for name, source in shown.groups.items():
        _mount_hierarchy(place, name or _UNIFIEDS_NAME, source)
    if shown.covered:
        os.mkdir(nothing, 0o755)
    for name, source in shown.covered.items():
        _mount_hierarchy(place, name, source)
        _bind(nothing, f"{place}/{name}")


def _mount_hierarchy(place: str, name: str, source: str) -> None:
    target = f"{place}/{name}"
    os.mkdir(target, 0o755)
    _bind(source, target)
    controllers = name.split(",")
    for controller in controllers if len(controllers) > 1 else ():
        os.symlink(name, f"{place}/{controller}")


def _say(text: str, spare: str, place: str) -> None:
    """Have the file at *place*, if there is one, say *text*."""
    if os.path.exists(place):
        with open(spare, "w", encoding="utf-8") as file:
            file.write(text)
        _bind(spare, place)


def _bind(source: str, target: str) -> None:
    libc.mount(source, target, None, libc.MS_BIND)


def _lock(place: str, *, recursive: bool) -> None:
    attributes = libc.MOUNT_ATTR_RDONLY | libc.MOUNT_ATTR_NODEV
    make_read_only(place, attributes, recursive=recursive)
