"""The system calls on files, pipes and mappings that Python 3.11 lacks, see `native`."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from typing import Final

from pytest_isolate.sandbox.linux.native import LIBC
from pytest_isolate.sandbox.linux.native import MACHINE
from pytest_isolate.sandbox.linux.native import fail

# linux/falloc.h
FALLOC_FL_KEEP_SIZE: Final = 1
FALLOC_FL_PUNCH_HOLE: Final = 2
# asm-generic/mman-common.h
_MAP_FIXED: Final = 0x10
_MAP_FAILED: Final = ctypes.c_void_p(-1).value
# linux/eventpoll.h
_EPOLL_CTL_ADD: Final = 1
_POLL_EVENT: Final = struct.Struct("=IQ" if MACHINE == "x86_64" else "=I4xQ")

LIBC.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t) + (ctypes.c_int,) * 3 + (ctypes.c_long,)
LIBC.mmap.restype = ctypes.c_void_p


def punch_hole(fd: int, start: int, length: int) -> None:
    """Give back what *length* bytes of a file from *start* on take, see fallocate(2)."""
    mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
    if LIBC.fallocate(fd, mode, start, length) == -1:
        fail("fallocate", None)


def map_over(start: int, length: int, protection: int, flags: int, *, fd: int, offset: int) -> None:
    """Map a part of the file *fd* over what is at *start*, see mmap(2)."""
    flags |= _MAP_FIXED
    if LIBC.mmap(start, length, protection, flags, fd, offset) == _MAP_FAILED:
        fail("mmap", None)


def mincore(start: int, length: int) -> bytes:
    """Return a byte for each page of a mapping, odd where there is one, see mincore(2)."""
    pages = ctypes.create_string_buffer(-(-length // mmap.PAGESIZE))
    if LIBC.mincore(ctypes.c_void_p(start), ctypes.c_size_t(length), pages) == -1:
        fail("mincore", None)
    return pages.raw


def tee(source: int, target: int, length: int) -> int:
    """Copy what is in the pipe *source* to the pipe *target*, without waiting, see tee(2)."""
    done: int = LIBC.tee(source, target, ctypes.c_size_t(length), os.SPLICE_F_NONBLOCK)
    if done == -1:
        fail("tee", None)
    return done


def epoll_create() -> int:
    """Return a fresh set of descriptors to wait for, see epoll_create1(2)."""
    fd: int = LIBC.epoll_create1(os.O_CLOEXEC)
    if fd == -1:
        fail("epoll_create", None)
    return fd


def epoll_add(poll: int, fd: int, events: int, data: int) -> None:
    """Have *poll* wait for *events* of *fd*, and tell *data*, 64 bits, of them: epoll_ctl(2).

    The module `select` tells nothing but the descriptor.
    """
    if LIBC.epoll_ctl(poll, _EPOLL_CTL_ADD, fd, _POLL_EVENT.pack(events, data)) == -1:
        fail("epoll_ctl", None)
