"""The largest files that a sandbox has in memory.

What is written inside lies in memory and counts. To be looked at when a sandbox has run out of it.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
import heapq
import os
import time
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.sandbox.supervise.snapshot import Large

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Iterator

    from pytest_isolate.sandbox.linux.mountinfo import MountPoint

_MOST: Final = 5  #: that are named
_SMALLEST: Final = 1 << 20  #: bytes of one that is
_ENTRIES: Final = 50_000  #: that are looked at
_SECONDS: Final = 0.5  #: for which they are
_BLOCK: Final = 512  #: of `st_blocks`, see stat(2)
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_INSIDE: Final = libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS
#: What a test has made below a directory: no link, and nothing that is mounted there.
_BELOW: Final = libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_SYMLINKS | libc.RESOLVE_NO_XDEV
#: Of a file that was copied up, see Documentation/filesystems/overlayfs.rst.
_ORIGINS: Final = ("trusted.overlay.origin", "user.overlay.origin")
_UPPER: Final = "upperdir="


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A file system in memory, or the upper layer of an overlay."""

    fd: int
    path: str  #: where it is seen inside


@contextmanager
def stores(init: int, layers: int) -> Iterator[tuple[Store, ...]]:
    """Yield what the sandbox of PID *init* writes to; it stays to be looked at when that is dead.

    *layers* is the directory of upper layers, or -1.
    """
    opened: list[Store] = []
    try:
        with suppress(OSError):
            opened += _open(init, layers, mountinfo.of(init))
        yield tuple(opened)
    finally:
        for store in opened:
            os.close(store.fd)


def _open(init: int, layers: int, mounts: Iterable[MountPoint]) -> Iterator[Store]:
    root = os.open(f"/proc/{init}/root", os.O_PATH | os.O_CLOEXEC)
    try:
        yield from _open_below(root, layers, mounts)
    finally:
        os.close(root)


def _open_below(root: int, layers: int, mounts: Iterable[MountPoint]) -> Iterator[Store]:
    for mount in mounts:
        with suppress(OSError):
            if mount.fstype == "tmpfs":
                fd = libc.openat2(root, mount.target, _DIRECTORY, resolve=_INSIDE)
            elif mount.fstype == "overlay" and layers >= 0:
                fd = os.open(_upper(mount), _DIRECTORY, dir_fd=layers)
            else:
                continue
            yield Store(fd=fd, path=mount.target)


def _upper(overlay: MountPoint) -> str:
    """Return the name of the upper layer of *overlay*; raise FileNotFoundError."""
    for option in overlay.options:
        if option.startswith(_UPPER):
            return option.rpartition("/")[2]
    raise FileNotFoundError(overlay.target)


def largest(found: Iterable[Store]) -> tuple[Large, ...]:
    """Return the largest files of *found*, the largest first."""
    walk = _Walk()
    for store in found:
        walk.look(store.fd, store.path.rstrip("/"))
    return tuple(large for _, large in heapq.nlargest(_MOST, walk.files, key=lambda one: one[0]))


@final
class _Walk:
    """Through what a test has made; nothing is followed, and there is an end to it."""

    def __init__(self) -> None:
        self.files: list[tuple[int, Large]] = []
        self._seen: set[tuple[int, int]] = set()
        self._left = _ENTRIES
        self._end = time.monotonic() + _SECONDS

    def look(self, top: int, path: str) -> None:
        """Look at what is below the directory *top*, which is seen at *path*."""
        places = ["."]
        while places and not self._is_over():
            place = places.pop()
            with suppress(OSError):
                fd = libc.openat2(top, place, _DIRECTORY, resolve=_BELOW)
                try:
                    places += self._enter(fd, place, path)
                finally:
                    os.close(fd)

    def _is_over(self) -> bool:
        return self._left <= 0 or time.monotonic() > self._end

    def _enter(self, fd: int, place: str, path: str) -> Iterator[str]:
        """Yield the directories in the directory *fd*, which is *place* below the top."""
        with os.scandir(fd) as entries:
            for entry in entries:
                self._left -= 1
                if self._is_over():
                    return
                below = f"{place}/{entry.name}"
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        yield below
                    elif entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        self._take(fd, entry.name, path + below[1:], status)

    def _take(self, fd: int, name: str, path: str, status: os.stat_result) -> None:
        size = status.st_blocks * _BLOCK
        number = status.st_dev, status.st_ino
        if size >= _SMALLEST and number not in self._seen:
            self._seen.add(number)
            of_host = _has_origin(f"/proc/self/fd/{fd}/{name}")
            self.files.append((size, Large(path=path, size=size, of_host=of_host)))


def _has_origin(path: str) -> bool:
    for name in _ORIGINS:
        with suppress(OSError):
            os.getxattr(path, name, follow_symlinks=False)
            return True
    return False
