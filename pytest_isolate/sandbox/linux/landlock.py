"""Landlock: what an ordinary process can deny itself, see landlock(7).

Only writing is restricted: what may be read is the caller's own anyway. What a kernel does not
know yet (its ABI tells) is not restricted, and said.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.linux import libc

if TYPE_CHECKING:
    from collections.abc import Iterable

# linux/landlock.h
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


def abi() -> int:
    """Return the version of Landlock that this kernel has; raise `OSError` if it has none."""
    return libc.landlock_abi()


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
    ruleset = libc.landlock_create_ruleset(writing, network, scopes)
    try:
        for path in writable:
            _allow(ruleset, path, writing)
        for path in files:
            _allow(ruleset, path, writing & _OF_FILES)
        libc.landlock_restrict_self(ruleset)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, writing: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        is_directory = stat.S_ISDIR(os.fstat(place).st_mode)
        libc.landlock_add_path(ruleset, place, writing if is_directory else writing & _OF_FILES)
    finally:
        os.close(place)
