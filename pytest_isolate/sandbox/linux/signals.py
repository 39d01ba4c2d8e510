"""The system calls on signals that Python 3.11 lacks, see `native`."""

from __future__ import annotations

import ctypes
from typing import Final

from pytest_isolate.sandbox.linux.native import LIBC
from pytest_isolate.sandbox.linux.native import MACHINE
from pytest_isolate.sandbox.linux.native import fail

_NR_TGKILL: Final = {"x86_64": 234, "aarch64": 131, "riscv64": 131}.get(MACHINE, -1)

LIBC.sigaction.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)

_SignalSet: Final = ctypes.c_uint64 * 16  # <bits/types/__sigset_t.h>


class SignalAction(ctypes.Structure):
    """What a process makes of a signal; all zeroes are the default."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", _SignalSet),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


def tgkill(pid: int, thread: int, number: int) -> None:
    """Send signal *number* to one *thread* of process *pid*, see tgkill(2)."""
    if LIBC.syscall(_NR_TGKILL, pid, thread, number) == -1:
        fail("tgkill", None)


def block_during(number: int, other: int) -> None:
    """Have signal *other* wait while the handler of *number* runs, see sigaction(2)."""
    action = SignalAction()
    if LIBC.sigaction(number, None, ctypes.byref(action)) == -1:
        fail("sigaction", None)
    action.mask[0] |= 1 << (other - 1)
    if LIBC.sigaction(number, ctypes.byref(action), None) == -1:
        fail("sigaction", None)


def sigaction(number: int, action: SignalAction | None) -> SignalAction:
    """Put *action*, or the default if `None`, in the place of a signal's; return that.

    In any thread, and for handlers that are not Python's, see sigaction(2).
    """
    before = SignalAction()
    now = SignalAction() if action is None else action
    if LIBC.sigaction(number, ctypes.byref(now), ctypes.byref(before)) == -1:
        fail("sigaction", None)
    return before
