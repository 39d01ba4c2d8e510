"""What a shared object wants to be loaded with: the dynamic section of an ELF file, see elf(5)."""

from __future__ import annotations

from dataclasses import dataclass
import mmap
import os
import struct
import sys
from typing import TYPE_CHECKING
from typing import Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_ORDER: Final = "<" if sys.byteorder == "little" else ">"
_IDENTITY: Final = b"\x7fELF\x02" + (b"\x01" if sys.byteorder == "little" else b"\x02")  # 64 bits
_FILE_HEADER: Final = struct.Struct(_ORDER + "32xQ14xHH")
_PROGRAM_HEADER: Final = struct.Struct(_ORDER + "IIQQQQQQ")
_ENTRY: Final = struct.Struct(_ORDER + "qQ")

_PT_LOAD: Final = 1
_PT_DYNAMIC: Final = 2
_DT_NEEDED: Final = 1
_DT_STRTAB: Final = 5
_DT_RPATH: Final = 15
_DT_RUNPATH: Final = 29


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What one file asks the dynamic loader for."""

    libraries: tuple[str, ...] = ()  #: sonames, DT_NEEDED
    places: tuple[str, ...] = ()  #: directories to look in first, `$ORIGIN` replaced


def wants(path: str) -> Wants:
    """Return what the shared object *path* asks for: nothing if it is not one of this machine's."""
    try:
        with (
            open(path, "rb") as file,
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data,
        ):
            return _read(data, os.path.dirname(path))
    except (OSError, ValueError, struct.error):  # ValueError: an empty file cannot be mapped
        return Wants()


def _read(data: mmap.mmap, origin: str) -> Wants:
    if data[: len(_IDENTITY)] != _IDENTITY:
        return Wants()
    offset, size, count = _FILE_HEADER.unpack_from(data)
    segments = list(_PROGRAM_HEADER.iter_unpack(data[offset : offset + size * count]))
    dynamic = [entry for segment in segments for entry in _entries(data, segment)]
    tables = [value for tag, value in dynamic if tag == _DT_STRTAB]
    if not tables:
        return Wants()
    table = _file_offset(segments, tables[0])
    libraries = [_name(data, table + v) for tag, v in dynamic if tag == _DT_NEEDED]
    paths = [_name(data, table + v) for tag, v in dynamic if tag in {_DT_RPATH, _DT_RUNPATH}]
    places = (place for path in paths for place in path.split(":") if place)
    return Wants(
        libraries=tuple(libraries),
        places=tuple(p.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for p in places),
    )


def _entries(data: mmap.mmap, segment: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    kind, _, offset, _, _, size, _, _ = segment
    if kind == _PT_DYNAMIC:
        section = data[offset : offset + size]
        yield from _ENTRY.iter_unpack(section[: len(section) // _ENTRY.size * _ENTRY.size])


def _file_offset(segments: list[tuple[int, ...]], address: int) -> int:
    for kind, _, offset, start, _, size, _, _ in segments:
        if kind == _PT_LOAD and start <= address < start + size:
            return offset + address - start
    return address


def _name(data: mmap.mmap, offset: int) -> str:
    return os.fsdecode(data[offset : data.find(b"\0", min(offset, len(data)))])
