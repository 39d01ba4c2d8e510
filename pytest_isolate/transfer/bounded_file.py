"""The head and the tail of a file that is written to without end; its middle is let go of.

The middle becomes a hole (Linux 3.5: ext4, xfs, btrfs, tmpfs, NFS 4.2; see fallocate(2)). The file
keeps its size, so whoever writes to it or seeks in it notices nothing, and nothing is copied.
"""

from __future__ import annotations

import os
import sys
from typing import Final

from pytest_isolate.wire.real_os import RealOS

if sys.platform == "linux":
    from pytest_isolate.sandbox.linux import files

_SLACK: Final = 8 * 1024 * 1024  #: how much more a file may take before a hole is made
_BLOCK: Final = 512  #: the unit of `st_blocks`, see stat(3type)


def fits(fd: int, kept: int) -> bool:
    """Return whether the file *fd* is whole if *kept* bytes of it are kept."""
    return RealOS.fstat(fd).st_size <= kept


def trim(fd: int, kept: int) -> bool:
    """Let go of the middle of the file *fd* if it takes too much; return whether it did.

    Where the file system has no holes, the tail up to now is let go of as well.
    """
    half = kept // 2
    stays = 3 * half  # the tail may grow while it is being read
    status = RealOS.fstat(fd)
    if status.st_size <= stays or status.st_blocks * _BLOCK <= stays + _SLACK:
        return False
    try:
        files.punch_hole(fd, half, status.st_size - stays)
    except OSError:
        RealOS.ftruncate(fd, half)
    return True


def read(fd: int, kept: int, errors: str) -> str:
    """Return the text of the file *fd*, but for its middle if it is of more than *kept* bytes."""
    size = RealOS.fstat(fd).st_size
    if size <= kept:
        return RealOS.pread(fd, size, 0).decode(errors=errors)
    half = kept // 2
    head, tail = RealOS.pread(fd, half, 0), RealOS.pread(fd, half, size - half).lstrip(b"\0")
    return cut(head, tail, size - half - len(tail), errors)


def cut(head: bytes, tail: bytes, missing: int, errors: str) -> str:
    """Return the text of *head* and *tail*, between which *missing* bytes are."""
    if errors in {"strict", "surrogatepass"}:
        errors = "replace"  # a cut may have been made in the middle of a character
    return (
        f"{head.decode(errors=errors)}\n[... {missing:,} bytes cut ...]\n"
        f"{tail.decode(errors=errors)}"
    )


def empty(fd: int) -> None:
    """Remove all that the file *fd* has, and go back to its beginning."""
    RealOS.ftruncate(fd, 0)
    RealOS.lseek(fd, 0, os.SEEK_SET)
