"""What a process has open, found before the fork: what a fresh fork touches costs page faults.

A directory leads to the old root (CVE-2024-21626), a socket or pipe to another process, a pidfd to
a process that could be signalled, and a file that is open for writing to a file of the host. So a
directory and a file are opened again inside, and the rest is covered.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
import enum
import fcntl
import os
import stat
from typing import TYPE_CHECKING
from typing import Final
from typing import NamedTuple
from typing import final

from pytest_isolate.sandbox.launch.conduits import Conduits
from pytest_isolate.sandbox.launch.mappings import has_shared_memory
from pytest_isolate.sandbox.launch.mappings import parts_of_memory
from pytest_isolate.sandbox.launch.mappings import shared_mappings

if TYPE_CHECKING:
    from collections.abc import Collection

    from pytest_isolate.sandbox.launch.mappings import Mapping

_STANDARD: Final = (0, 1, 2)
#: Of a descriptor's flags, what can be asked for when its file is opened again.
_OPENING: Final = os.O_ACCMODE | os.O_APPEND | os.O_NONBLOCK | os.O_SYNC | os.O_PATH
#: Files there are the kernel's: what is read is made up on the spot, for whoever opened them.
_KERNELS: Final = ("/proc/", "/sys/")


class Kind(enum.StrEnum):
    """What a descriptor leads to, in words."""

    FILE = "file"
    COPY = "copy of a file"
    DIRECTORY = "directory"
    SOCKET = "socket"
    PIPE = "pipe"
    DISK = "block device"
    PROCESS = "process"
    OWN = "descriptor of the sandbox's"


_KINDS: Final = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFSOCK: Kind.SOCKET,
    stat.S_IFIFO: Kind.PIPE,
    stat.S_IFBLK: Kind.DISK,
}


@final
class Covered(NamedTuple):
    """A descriptor that is not inside what it is in the parent.

    A tuple, since some twenty are made for each test.
    """

    fd: int
    kind: Kind
    path: str = ""
    why: str = "it leads out of the sandbox"
    readable: bool = False  #: the file is open for reading only, instead of covered


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFile:
    """A regular file that is open, once: descriptors that are dups of one another are one."""

    fds: tuple[int, ...]
    path: str  #: where it is, or was when it was opened
    flags: int
    offset: int
    status: os.stat_result
    is_there: bool  #: whether the path leads to it
    mappings: tuple[Mapping, ...] = ()  #: shared memory that it is

    @property
    def inode(self) -> tuple[int, int]:
        """Device and number."""
        return self.status.st_dev, self.status.st_ino

    @property
    def writes(self) -> bool:
        """Whether it can be written to."""
        return self.flags & os.O_ACCMODE != os.O_RDONLY

    @property
    def taken(self) -> int:
        """How much a copy takes; what is sparse is copied as that."""
        return min(self.status.st_size, self.status.st_blocks * 512)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """What a fork of this process must not use as it is."""

    #: What leads out, with device and inode number.
    ways_out: list[tuple[Covered, int, int]] = field(default_factory=list)
    files: list[OpenFile] = field(default_factory=list)
    conduits: Conduits = field(default_factory=Conduits)
    #: Memory that is shared with forks, of no file that is open: by what it is a part of.
    memory: list[tuple[Mapping, ...]] = field(default_factory=list)


def inherited(keep: Collection[int], own: Collection[int] = (), *, reopens: bool) -> Inherited:
    """Return what of this process's descriptors leads out of a sandbox, but for *keep*.

    *own* are those that sandboxes are made and watched by. If *reopens*, files are to be opened
    again inside, and what the process talks to itself by is made anew; otherwise files that are
    open for reading only are left as they are, and the rest is covered.
    """
    found = Inherited()
    kept = {*_STANDARD, *keep}
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd not in kept:
            try:
                _look_at(fd, found, is_own=fd in own, reopens=reopens)
            except OSError:  # the descriptor of the listing, or closed by a thread
                continue
    if not reopens:
        return found
    _sort_out_pairs(found)
    if found.files or has_shared_memory():
        mappings = shared_mappings()
        found.files[:] = _with_mappings(found.files, mappings)
        found.memory[:] = parts_of_memory(mappings)
    return found


def _look_at(fd: int, found: Inherited, *, is_own: bool, reopens: bool) -> None:
    status = os.fstat(fd)
    form = stat.S_IFMT(status.st_mode)
    kind = Kind.OWN if is_own else _KINDS.get(form)
    if kind is Kind.FILE:
        _look_at_file(fd, status, found, reopens=reopens)
        return
    if not form and kind is None:
        link = _link(fd)
        if reopens:
            found.conduits.add_nameless(fd, link)
        if link == "anon_inode:[pidfd]":
            kind = Kind.PROCESS
    if kind is not None:
        path = _link(fd) if kind is Kind.DIRECTORY and reopens else ""
        found.ways_out.append((Covered(fd, kind, path), status.st_dev, status.st_ino))


def _look_at_file(fd: int, status: os.stat_result, found: Inherited, *, reopens: bool) -> None:
    path = _link(fd)
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if not reopens or path.startswith(_KERNELS):
        if flags & os.O_ACCMODE != os.O_RDONLY:
            covered = Covered(fd, Kind.FILE, path)
            found.ways_out.append((covered, status.st_dev, status.st_ino))
        return
    file = OpenFile(
        fds=(fd,),
        path=path,
        flags=flags & _OPENING,
        offset=0 if flags & os.O_PATH else os.lseek(fd, 0, os.SEEK_CUR),
        status=status,
        is_there=_leads_to(path, status),
    )
    for number, other in enumerate(found.files):
        if _may_be_one(file, other) and are_one(fd, other.fds[0]):
            found.files[number] = replace(other, fds=(*other.fds, fd))
            return
    found.files.append(file)


def _link(fd: int) -> str:
    return os.readlink(f"/proc/self/fd/{fd}")


def _leads_to(path: str, status: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.stat(path), status)
    except OSError:
        return False


def _may_be_one(one: OpenFile, other: OpenFile) -> bool:
    return (one.inode, one.flags, one.offset) == (other.inode, other.flags, other.offset)


def _sort_out_pairs(found: Inherited) -> None:
    """Take from the ways out what leads from this process to itself."""
    ends: dict[Kind, dict[int, list[int]]] = {Kind.PIPE: {}, Kind.SOCKET: {}}
    for way, _, inode in found.ways_out:
        if way.kind in ends:
            ends[way.kind].setdefault(inode, []).append(way.fd)
    found.conduits.add_pairs(ends[Kind.PIPE], ends[Kind.SOCKET])
    if pairs := found.conduits.fds:
        found.ways_out[:] = [way for way in found.ways_out if way[0].fd not in pairs]


def _with_mappings(files: list[OpenFile], mappings: list[Mapping]) -> list[OpenFile]:
    """Return *files*, each with the shared memory that is of it, which is taken from *mappings*."""
    done = []
    # A file may be open for reading as well, and only for writing can it take all.
    for file in sorted(files, key=lambda file: not file.writes):
        # The device is not everywhere what stat(2) says.
        its = [m for m in mappings if (m.inode, m.path) == (file.status.st_ino, file.path)]
        mappings[:] = [one for one in mappings if one not in its]
        done.append(replace(file, mappings=tuple(its)) if its else file)
    return done


def are_one(one: int, other: int) -> bool:
    """Return whether two descriptors of a regular file are dups: they share offset and flags.

    kcmp(2) knows, but is often refused. A flag that means nothing to a regular file is changed in
    one, looked for in the other, and changed back.
    """
    flags = fcntl.fcntl(one, fcntl.F_GETFL)
    if flags & os.O_PATH:
        return False
    before = fcntl.fcntl(other, fcntl.F_GETFL)
    fcntl.fcntl(one, fcntl.F_SETFL, flags ^ os.O_NONBLOCK)
    try:
        return fcntl.fcntl(other, fcntl.F_GETFL) != before
    finally:
        fcntl.fcntl(one, fcntl.F_SETFL, flags)
