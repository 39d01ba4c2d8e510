"""What was written in a sandbox, read from where it went.

That is: the upper layers of its overlays, and the file systems that were empty at first.

To be done when every process inside is dead, so that nothing moves; but what lies there was made by
the test, so nothing is followed and nothing is trusted.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
import enum
import errno
import filecmp
import os
import stat
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox.linux import libc

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Iterator

    from pytest_isolate.sandbox.layers import Layers

#: Of files that were opened for writing the contents are compared up to this size, in bytes.
_COMPARED: Final = 64 * 1024 * 1024
#: overlayfs keeps its marks in these, see Documentation/filesystems/overlayfs.rst.
_MARKS: Final = ("trusted.overlay.", "user.overlay.")
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class What(enum.StrEnum):
    """What was done to a path."""

    WRITTEN = "written"  #: it is new, or has another content
    CHANGED = "changed"  #: only its mode, its owner or its times
    MOVED = "moved"  #: a directory, from `Change.source`
    REPLACED = "replaced"  #: a directory: what it had is gone
    DELETED = "deleted"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One path that was written to; of a new directory only if it is empty."""

    path: str  #: inside
    what: What
    kind: str = "file"  #: or directory, link, socket, fifo, device
    size: int = 0  #: of a file, in bytes
    source: str = ""  #: where a directory was, or a link leads
    #: Where it was found: the number of an overlay or the path of a fresh directory, and a path
    #: in that.
    top: int | str = ""
    place: str = ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """What a survey leaves out."""

    below: Collection[str] = ()  #: paths inside, and what is below them
    directories: Collection[str] = ()  #: names of directories, wherever they are
    suffixes: tuple[str, ...] = ()  #: ends of names of files

    def has(self, path: str, name: str, *, directory: bool) -> bool:
        """Return whether *path* is left out; what is above was asked for before."""
        named = name in self.directories if directory else name.endswith(self.suffixes)
        return named or path in self.below


def survey(layers: Layers, ignored: Ignored) -> Iterator[Change]:
    """Yield what was written, in no order to rely on."""
    for number, (target, lower) in enumerate(layers.overlaid):
        with suppress(FileNotFoundError):  # an optional overlay
            fd = _open_top(layers, number)
            yield from _Walk(layers, ignored, number).walk(fd, target, "", lower)
    for target in layers.fresh:
        fd = _open_top(layers, target)
        yield from _Walk(layers, ignored, target).walk(fd, target, "", None)


def _open_top(layers: Layers, top: int | str) -> int:
    if isinstance(top, str):
        return os.dup(layers.fresh[top])
    return os.open(f"{top}.upper", _DIRECTORY, dir_fd=layers.upper)


def open_file(layers: Layers, change: Change) -> int:
    """Return a descriptor of the plain file that *change* has written, to read it. Raises OSError.

    What the path leads to is not waited for and not followed, whatever it is by now.
    """
    top = _open_top(layers, change.top)
    resolve = libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_SYMLINKS
    try:
        fd = libc.openat2(top, change.place, _FILE, resolve=resolve)
    finally:
        os.close(top)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a plain file", change.path)
    return fd


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """Where a walk is."""

    name: str
    path: str  #: inside
    place: str  #: below the top
    lower: str | None  #: what it is merged with


@final
class _Walk:
    """Through one file system, from one directory down."""

    def __init__(self, layers: Layers, ignored: Ignored, top: int | str) -> None:
        self._planned = layers.planned
        self._opened = layers.opened
        self._copied = layers.copied
        self._ignored = ignored
        self._top = top

    def walk(self, fd: int, inside: str, place: str, lower: str | None) -> Iterator[Change]:
        """Walk through the directory *fd*, which this closes.

        *inside* is its path inside, *place* where it is below the top; *lower* is the host's
        directory that it is merged with, if there is one.
        """
        try:
            device = os.fstat(fd).st_dev
            for name in sorted(os.listdir(fd)):
                path = f"{inside.rstrip('/')}/{name}"
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                is_directory = stat.S_ISDIR(status.st_mode)
                if self._ignored.has(path, name, directory=is_directory):
                    continue
                # It was put back there, or copied.
                origin = path if path in self._opened or path in self._copied else None
                below = _Spot(
                    name=name,
                    path=path,
                    place=f"{place}/{name}" if place else name,
                    lower=origin if lower is None else f"{lower.rstrip('/')}/{name}",
                )
                if not is_directory:
                    if path not in self._planned:
                        yield from self._entry(fd, below, status)
                elif status.st_dev == device:
                    yield from self._directory(fd, below, status)
        finally:
            os.close(fd)

    def _entry(self, fd: int, spot: _Spot, now: os.stat_result) -> Iterator[Change]:
        kind, lower = _kind(now.st_mode), spot.lower
        before = _status(lower)
        if kind == "device" and now.st_rdev == 0:
            if before is not None:
                yield Change(path=spot.path, what=What.DELETED, kind=_kind(before.st_mode))
            return
        what: What | None = What.WRITTEN
        source = os.readlink(spot.name, dir_fd=fd) if kind == "link" else ""
        if before is not None and lower is not None and _kind(before.st_mode) == kind:
            opened, times = self._opened.get(spot.path), True
            if opened is not None and _written(opened) != _written(before):
                # The parent has gone on writing to it, but its copy had the time that it had then.
                is_same = now.st_mtime_ns == opened.st_mtime_ns
                times = False
            elif source:
                is_same = source == os.readlink(lower)
            else:
                is_same = _same(f"/proc/self/fd/{fd}/{spot.name}", now, lower, before)
            if is_same:
                changed = _attributes(now, times=times) != _attributes(before, times=times)
                what = What.CHANGED if changed else None
        if what is not None:
            size = now.st_size if kind == "file" else 0
            yield Change(
                path=spot.path,
                what=what,
                kind=kind,
                size=size,
                source=source,
                top=self._top,
                place=spot.place,
            )

    def _leads_to_opened(self, path: str) -> bool:
        """Return whether the directory *path* may have been made to put a file back."""
        return any(one.startswith(f"{path}/") for one in self._opened)

    def _directory(self, fd: int, spot: _Spot, now: os.stat_result) -> Iterator[Change]:
        is_new = spot.path not in self._planned and not self._leads_to_opened(spot.path)
        try:
            child = os.open(spot.name, _DIRECTORY, dir_fd=fd)
        except OSError:  # closed to an ordinary user, who is not told more than that
            if is_new:
                yield Change(path=spot.path, what=What.WRITTEN, kind="directory")
            return
        change, lower = _merged(spot, now, child)
        if change is not None:
            yield change
        is_new &= change is None and lower is None
        for below in self.walk(child, spot.path, spot.place, lower):
            is_new = False
            yield below
        if is_new:
            yield Change(path=spot.path, what=What.WRITTEN, kind="directory")


def _merged(spot: _Spot, now: os.stat_result, fd: int) -> tuple[Change | None, str | None]:
    """Return what was done to the directory *fd*, and the one that it is merged with now."""
    if spot.lower is None:
        return None, None

    def change(what: What, source: str = "") -> Change:
        return Change(path=spot.path, what=what, kind="directory", source=source)

    if moved := _mark(fd, "redirect"):
        if moved.startswith("/"):
            # From the top of the overlay; where that is on the host was not handed down.
            return change(What.MOVED, moved), None
        return change(What.MOVED, _beside(spot.path, moved)), _beside(spot.lower, moved)
    before = _status(spot.lower)
    if before is None or not stat.S_ISDIR(before.st_mode):
        return None, None
    if _mark(fd, "opaque") == "y":
        return change(What.REPLACED), None
    same = (now.st_mode, now.st_uid, now.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    return None if same else change(What.CHANGED), spot.lower


def _kind(mode: int) -> str:
    match stat.S_IFMT(mode):
        case stat.S_IFREG:
            return "file"
        case stat.S_IFDIR:
            return "directory"
        case stat.S_IFLNK:
            return "link"
        case stat.S_IFSOCK:
            return "socket"
        case stat.S_IFIFO:
            return "fifo"
        case _:
            return "device"


def _status(path: str | None) -> os.stat_result | None:
    try:
        return None if path is None else os.lstat(path)
    except OSError:
        return None


def _attributes(status: os.stat_result, *, times: bool) -> tuple[int, ...]:
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns * times


def _written(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


def _same(path: str, now: os.stat_result, lower: str, before: os.stat_result) -> bool:
    """Return whether the file was copied up only: opened for writing, or given another mode."""
    if not stat.S_ISREG(now.st_mode):
        return True
    if now.st_size != before.st_size:
        return False
    if now.st_size > _COMPARED:
        return now.st_mtime_ns == before.st_mtime_ns
    filecmp.clear_cache()  # memory that is mapped is written to without a new time
    try:
        return filecmp.cmp(path, lower, shallow=False)
    except OSError:  # an ordinary user may not read it
        return now.st_mtime_ns == before.st_mtime_ns


def _mark(fd: int, name: str) -> str:
    for prefix in _MARKS:
        with suppress(OSError):
            return os.fsdecode(os.getxattr(fd, f"{prefix}{name}"))
    return ""


def _beside(path: str, name: str) -> str:
    return f"{path[: path.rfind('/')]}/{name}"
