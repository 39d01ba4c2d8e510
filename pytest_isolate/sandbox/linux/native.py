"""What the modules of system calls have in common: the C library, and how its errors are raised.

`libc`, `files`, `signals` and `landlock` have one function a call: universal wrappers and nothing
above them, with arguments as in the man page. Numbers are those of the generic table
(asm-generic/unistd.h), which x86-64 shares for every call since pidfd_open.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final
from typing import NoReturn

MACHINE: Final = os.uname().machine
LIBC: Final = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long


def fail(call: str, path: str | None = None) -> NoReturn:
    """Raise the `OSError` of *call*, which has just failed on *path*."""
    code = ctypes.get_errno()
    raise OSError(code, f"{call}: {os.strerror(code)}", path)
