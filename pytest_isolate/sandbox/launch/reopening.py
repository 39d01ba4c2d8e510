"""What becomes of inherited descriptors inside: files are opened again, what leads out is covered.

Before the capabilities are dropped: what the parent has open may be closed to its user by now.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
import errno
import fcntl
import os
import stat
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox.errors import step
from pytest_isolate.sandbox.launch.descriptors import Covered
from pytest_isolate.sandbox.launch.descriptors import Kind
from pytest_isolate.sandbox.launch.mappings import lead_to
from pytest_isolate.sandbox.launch.mappings import renew
from pytest_isolate.sandbox.spec import HostRoot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_isolate.sandbox.launch.descriptors import Inherited
    from pytest_isolate.sandbox.launch.descriptors import OpenFile
    from pytest_isolate.sandbox.spec import Spec

#: Bytes: a copy of a larger file would cost each test more than its fork does.
_LARGEST: Final = 64 * 1024 * 1024
#: Of a test's memory cap no more than one in so many bytes goes into one copy.
_SHARE: Final = 4
_CHUNK: Final = 1 << 24
_MOVED: Final = "its place is fresh in a sandbox, and sqlite writes to no database that was moved"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class _Inside:
    """What a file is inside."""

    fd: int = -1  #: a new descriptor, or -1 if it cannot be had
    why: str = ""  #: it is not what it was
    kind: Kind = Kind.FILE


def take_in(inherited: Inherited, spec: Spec) -> list[Covered]:
    """Open the files of *inherited* again and cover the rest; return what is not as it was.

    A descriptor that was closed meanwhile, or is another one by now, is left alone: functions of
    `os.register_at_fork` may have run.
    """
    with step("open /dev/null"):
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    covered = []
    for way, device, inode in inherited.ways_out:
        if _is_still(way.fd, device, inode) and not _take_in_directory(way, spec):
            _put(null, way.fd)
            covered.append(way)
    inherited.conduits.renew()
    for file in inherited.files:
        covered += _take_in_file(file, spec, null)
    for part in inherited.memory:
        with suppress(OSError):
            renew(part, _largest(spec))
    os.close(null)
    return covered


def _take_in_directory(way: Covered, spec: Spec) -> bool:
    """Open the directory that *way* leads to where it is inside; return whether that was done."""
    if way.kind is not Kind.DIRECTORY or not way.path or not _is_missed(spec):
        return False
    flags = fcntl.fcntl(way.fd, fcntl.F_GETFL) & os.O_PATH
    try:
        inside = os.open(way.path, flags | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:  # it is of the sandbox's own, or was removed
        return False
    _put(inside, way.fd)
    os.close(inside)
    return True


def _take_in_file(file: OpenFile, spec: Spec, null: int) -> Iterator[Covered]:
    fds = [fd for fd in file.fds if _is_still(fd, file.status.st_dev, file.status.st_ino)]
    if not fds:
        return
    try:
        inside = _open(file, spec, fds[0])
    except OSError as error:
        inside = _Inside(why=os.strerror(error.errno or errno.EIO))
    if inside.fd < 0 and not file.writes:
        return  # nothing can be changed by it: it stays as it is
    is_open = inside.fd >= 0
    if is_open and not file.flags & os.O_PATH:
        os.lseek(inside.fd, file.offset, os.SEEK_SET)
    # Of what is covered the memory stays readable, and what is written to it is this process's own.
    lead_to(file.mappings, inside.fd if is_open else fds[0], shared=is_open)
    for fd in fds:
        _put(inside.fd if is_open else null, fd)
        if inside.why:
            yield Covered(fd=fd, kind=inside.kind, path=file.path, why=inside.why, readable=is_open)
    if is_open:
        os.close(inside.fd)


def _is_still(fd: int, device: int, inode: int) -> bool:
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return status.st_ino == inode and status.st_dev == device


def _put(source: int, fd: int) -> None:
    """Put *source* in the place of *fd*, whose owner can still close it."""
    try:
        os.dup2(source, fd, inheritable=os.get_inheritable(fd))
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        # It was opened before the limit of descriptors went below it: nothing can be put there.
        os.close(fd)


def _open(file: OpenFile, spec: Spec, fd: int) -> _Inside:
    """Open *file*, which is *fd*, as the sandbox has it."""
    flags = file.flags | os.O_CLOEXEC
    here = _status(file.path) if file.is_there else None
    if here is not None and _is_same(here, file.status):
        found = _open_at_path(file, flags, spec, here)
        if found is not None:
            return found
    elif here is None and file.is_there and _is_missed(spec) and _fits(file, spec):
        with suppress(OSError):
            _put_back(file, fd)
            return _Inside(fd=os.open(file.path, flags), kind=Kind.COPY, why=_MOVED)
    if not file.writes:
        return _Inside(fd=os.open(f"/proc/self/fd/{fd}", flags))
    if not _fits(file, spec):
        return _Inside(why=f"it is not there inside, and {_mib(file)} are too much to copy")
    return _Inside(fd=_copy(fd, file.status.st_size, flags))


def _open_at_path(file: OpenFile, flags: int, spec: Spec, here: os.stat_result) -> _Inside | None:
    """Open *file* where it is inside, as *here* tells; return `None` if that is refused."""
    if file.writes and spec.partial:
        return _Inside(why="a partial sandbox has no copy of it to write to")
    # What is written through to the host has the host's device.
    is_copied = file.writes and here.st_dev != file.status.st_dev
    if is_copied and not _fits(file, spec):
        why = f"{_mib(file)} are too much to copy for each test"
        if flags & os.O_ACCMODE == os.O_WRONLY:
            return _Inside(why=why)
        return _Inside(fd=os.open(file.path, flags & ~os.O_ACCMODE), why=why)
    try:
        fd = os.open(file.path, flags)
    except OSError:
        return None
    if is_copied and spec.surveyed and os.fstat(fd).st_mtime_ns != file.status.st_mtime_ns:
        with suppress(OSError):  # another user's file
            # A survey is told what it was like before; somebody has written to it since.
            os.utime(fd, ns=(here.st_atime_ns, file.status.st_mtime_ns))
    return _Inside(fd=fd)


def _is_missed(spec: Spec) -> bool:
    """Return whether a file should be inside because it is outside."""
    return not spec.partial and isinstance(spec.root, HostRoot)


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except OSError:
        return None


def _is_same(here: os.stat_result, there: os.stat_result) -> bool:
    """Return whether a path inside leads to the file that it leads to outside."""
    # An overlay has the numbers of the files below it, and a device of its own.
    return stat.S_ISREG(here.st_mode) and here.st_ino == there.st_ino


def _mib(file: OpenFile) -> str:
    return f"{file.taken / (1 << 20):.0f} MiB"


def _fits(file: OpenFile, spec: Spec) -> bool:
    return file.taken <= _largest(spec)


def _largest(spec: Spec) -> int:
    """Return how many bytes a copy may take."""
    cap = spec.memory_cap
    return _LARGEST if cap is None else min(_LARGEST, cap // _SHARE)


def _put_back(file: OpenFile, fd: int) -> None:
    """Copy *file* to its path, in a directory that is empty in a sandbox, or not there."""
    os.makedirs(os.path.dirname(file.path), exist_ok=True)
    target = os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _pour(fd, target, file.status.st_size)
        os.fchmod(target, stat.S_IMODE(file.status.st_mode))
        os.utime(target, ns=(file.status.st_atime_ns, file.status.st_mtime_ns))
    except OSError:
        os.unlink(file.path)
        raise
    finally:
        os.close(target)


def _copy(fd: int, size: int, flags: int) -> int:
    """Return a descriptor of a nameless copy."""
    memory = os.memfd_create("isolate-copy", os.MFD_CLOEXEC)
    try:
        _pour(fd, memory, size)
        return os.open(f"/proc/self/fd/{memory}", flags)
    finally:
        os.close(memory)


def _pour(fd: int, target: int, size: int) -> None:
    """Copy the file *fd* to *target*, without the offset that is shared with the parent."""
    source = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(target, size)
        start = 0
        with suppress(OSError):  # ENXIO: there are only holes from here on
            while start < size:
                start = os.lseek(source, start, os.SEEK_DATA)
                end = os.lseek(source, start, os.SEEK_HOLE)
                os.lseek(target, start, os.SEEK_SET)
                while start < end:
                    start += os.sendfile(target, source, start, min(end - start, _CHUNK))
    finally:
        os.close(source)
