"""Files that are mapped and shared: what is written there reaches the file, with no descriptor.

sqlite has the index of its write-ahead log in such memory, multiprocessing its `Value` and `Array`.
A fork shares it with its parent, so inside the file that was opened again takes its place. Memory
of no file that is open, as multiprocessing's locks are, becomes a copy, shared with the test's own
forks.
"""

from __future__ import annotations

from contextlib import suppress
import ctypes
from dataclasses import dataclass
from functools import lru_cache
import mmap
import os
import re
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox.linux import files

if TYPE_CHECKING:
    from collections.abc import Iterable

#: A line of proc_pid_maps(5), of memory that is shared: range, permissions, offset, inode, path.
_LINE: Final = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) ([-r][-w][-x])s ([0-9a-f]+) [0-9a-f]+:[0-9a-f]+ (\d+) +(/.*)$",
    re.MULTILINE,
)
#: The kernel's names for memory of no file. Other such names are those of devices.
_NAMELESS: Final = ("/dev/zero (deleted)", "/dev/shm/", "/memfd:", "/SYSV")  # noqa: S108
_PROTECTIONS: Final = {
    ord("r"): mmap.PROT_READ,
    ord("w"): mmap.PROT_WRITE,
    ord("x"): mmap.PROT_EXEC,
}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """A range of memory that is a part of a file."""

    start: int
    length: int
    protection: int
    offset: int
    inode: int
    path: str  #: of the file, as /proc/self/fd tells it

    def lead_to(self, fd: int, *, shared: bool) -> None:
        """Let it be the same part of the file *fd*; a copy of what it has if not *shared*."""
        flags = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
        files.map_over(self.start, self.length, self.protection, flags, fd=fd, offset=self.offset)


def has_shared_memory() -> bool:
    """Return whether this process shares memory of no file with its forks.

    To look takes up to a millisecond, so that is done when the address space has another size than
    at the last look: memory that comes just as other of its size goes is not noticed.
    """
    with open("/proc/self/statm", "rb", buffering=0) as file:
        return _has_shared_memory_at(file.read().partition(b" ")[0])


@lru_cache(maxsize=1)
def _has_shared_memory_at(_size: bytes) -> bool:
    return bool(parts_of_memory(shared_mappings()))


def shared_mappings() -> list[Mapping]:
    """Return what this process has mapped of files or of none, and shares with its forks."""
    with open("/proc/self/maps", "rb") as file:
        return parse(file.read())


def parse(text: bytes) -> list[Mapping]:
    """Return the shared mappings in the text of proc_pid_maps(5)."""
    found = []
    # Few are: a regular expression over all of it takes seven times as long.
    shared = b"\n".join(line for line in text.split(b"\n") if _is_shared(line))
    for start, end, permissions, offset, inode, path in _LINE.findall(shared):
        first = int(start, 16)
        found.append(
            Mapping(
                start=first,
                length=int(end, 16) - first,
                protection=sum(_PROTECTIONS.get(letter, 0) for letter in permissions),
                offset=int(offset, 16),
                inode=int(inode),
                path=os.fsdecode(path.replace(rb"\012", b"\n")),
            )
        )
    return found


def _is_shared(line: bytes) -> bool:
    after_range = line.find(b" ")
    return line[after_range + 4 : after_range + 5] == b"s"


def lead_to(mappings: Iterable[Mapping], fd: int, *, shared: bool) -> None:
    """Let *mappings* be of the file *fd*, privately where it may not be shared."""
    for one in mappings:
        if shared:
            with suppress(OSError):  # the file is open for reading only
                one.lead_to(fd, shared=True)
                continue
        with suppress(OSError):  # what cannot be read cannot be mapped, and was not
            one.lead_to(fd, shared=False)


def parts_of_memory(mappings: Iterable[Mapping]) -> list[tuple[Mapping, ...]]:
    """Return the memory among *mappings* that can be written to, by what it is a part of."""
    parts: dict[tuple[int, str], list[Mapping]] = {}
    for one in mappings:
        if one.path.startswith(_NAMELESS):
            parts.setdefault((one.inode, one.path), []).append(one)
    return [
        tuple(part)
        for part in parts.values()
        if all(one.protection & mmap.PROT_READ for one in part)
        and any(one.protection & mmap.PROT_WRITE for one in part)
    ]


def renew(part: tuple[Mapping, ...], largest: int) -> bool:
    """Let *part* be of a copy, and return whether that was done: no more than *largest* bytes."""
    used = [(one, _used(one)) for one in part]
    if sum(length for _, runs in used for _, length in runs) > largest:
        return False
    memory = os.memfd_create("isolate-copy", os.MFD_CLOEXEC)
    try:
        os.ftruncate(memory, max(one.offset + one.length for one in part))
        for one, runs in used:
            for start, length in runs:
                data = ctypes.string_at(one.start + start, length)
                os.pwrite(memory, data, one.offset + start)
        lead_to(part, memory, shared=True)
    finally:
        os.close(memory)
    return True


def _used(one: Mapping) -> list[tuple[int, int]]:
    """Return where *one* has pages, start and length of each run: to read others makes them."""
    runs: list[tuple[int, int]] = []
    for number, is_there in enumerate(files.mincore(one.start, one.length)):
        if is_there & 1:
            start = number * mmap.PAGESIZE
            if runs and sum(runs[-1]) == start:
                runs[-1] = runs[-1][0], runs[-1][1] + mmap.PAGESIZE
            else:
                runs.append((start, mmap.PAGESIZE))
    return runs
