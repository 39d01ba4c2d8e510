"""Landlock: what an ordinary process can deny itself, see landlock(7).

Only writing is restricted: what may be read is the caller's own anyway. What a kernel does not
know yet (its ABI tells) is not restricted, and said.
"""

from __future__ import annotations

import ctypes
import os
import stat
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.linux.native import LIBC
from pytest_isolate.sandbox.linux.native import fail

if TYPE_CHECKING:
    from collections.abc import Iterable

_NR_CREATE_RULESET: Final = 444
_NR_ADD_RULE: Final = 445
_NR_RESTRICT_SELF: Final = 446

# linux/landlock.h
_CREATE_RULESET_VERSION: Final = 1
_RULE_PATH_BENEATH: Final = 1
_WRITE_FILE: Final = 1 << 1
_REMOVE_DIR: Final = 1 << 4
_REMOVE_FILE: Final = 1 << 5
_MAKE_CHAR: Final = 1 << 6
_MAKE_DIR: Final = 1 << 7
_MAKE_REG: Final = 1 << 8
_MAKE_SOCK: Final = 1 << 9
_MAKE_FIFO: Final = 1 << 10
_MAKE_BLOCK: Final = 1 << 11
_MAKE_SYM: Final = 1 << 12
_REFER: Final = 1 << 13
_TRUNCATE: Final = 1 << 14
_BIND_TCP: Final = 1 << 0
_CONNECT_TCP: Final = 1 << 1
_SCOPE_ABSTRACT_SOCKETS: Final = 1 << 0
_SCOPE_SIGNALS: Final = 1 << 1

_WRITING: Final = (
    _WRITE_FILE
    | _REMOVE_DIR
    | _REMOVE_FILE
    | _MAKE_CHAR
    | _MAKE_DIR
    | _MAKE_REG
    | _MAKE_SOCK
    | _MAKE_FIFO
    | _MAKE_BLOCK
    | _MAKE_SYM
)
#: What can be granted on a file; the rest is for directories.
_OF_FILES: Final = _WRITE_FILE | _TRUNCATE

#: The ABI from which on the kernel knows something, and the version of Linux that brought it.
REFER_ABI: Final = 2
TRUNCATE_ABI: Final = 3
TCP_ABI: Final = 4
SCOPES_ABI: Final = 6


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathRule(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"  # what _pack_ implies, and Python 3.14 wants said
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """Return the version of Landlock that this kernel has; raise `OSError` if it has none."""
    version = int(LIBC.syscall(_NR_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION))
    if version == -1:
        fail("landlock_create_ruleset")
    return version


def restrict(writable: Iterable[str], *, files: Iterable[str], tcp: bool) -> None:
    """Keep this process, and its children for ever, from writing outside of *writable*.

    Of the directories *files* they may write to what is there. They may reach no TCP port unless
    *tcp*, and no signal or abstract socket of theirs goes beyond this process and its descendants.
    It takes PR_SET_NO_NEW_PRIVS.
    """
    version = abi()
    writing = _WRITING
    writing |= _REFER if version >= REFER_ABI else 0
    writing |= _TRUNCATE if version >= TRUNCATE_ABI else 0
    network = _BIND_TCP | _CONNECT_TCP if version >= TCP_ABI and not tcp else 0
    scopes = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if version >= SCOPES_ABI else 0
    ruleset = _create_ruleset(writing, network, scopes)
    try:
        for path in writable:
            _allow(ruleset, path, writing)
        for path in files:
            _allow(ruleset, path, writing & _OF_FILES)
        _restrict_self(ruleset)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, writing: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        is_directory = stat.S_ISDIR(os.fstat(place).st_mode)
        _add_path(ruleset, place, writing if is_directory else writing & _OF_FILES)
    finally:
        os.close(place)


def _create_ruleset(files: int, network: int, scopes: int) -> int:
    """Return a ruleset that denies the LANDLOCK_ACCESS_* and LANDLOCK_SCOPE_* given."""
    attr = _Ruleset(files, network, scopes)
    # A kernel refuses a structure that goes on, not all zeroes, beyond what it knows.
    size = ctypes.c_size_t(ctypes.sizeof(attr))
    fd = int(LIBC.syscall(_NR_CREATE_RULESET, ctypes.byref(attr), size, 0))
    if fd == -1:
        fail("landlock_create_ruleset")
    return fd


def _add_path(ruleset: int, place: int, allowed: int) -> None:
    """Allow *allowed* of what *ruleset* denies, in and below the file of the descriptor *place*."""
    attr = _PathRule(allowed, place)
    rule = ctypes.byref(attr)
    if LIBC.syscall(_NR_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0) == -1:
        fail("landlock_add_rule")


def _restrict_self(ruleset: int) -> None:
    """Put this thread under *ruleset*."""
    if LIBC.syscall(_NR_RESTRICT_SELF, ruleset, 0) == -1:
        fail("landlock_restrict_self")
