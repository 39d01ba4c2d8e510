"""Run a command under a kernel that refuses: `python refuse.py EPERM unshare,pivot_root -- CMD`.

A seccomp filter answers the calls with the errno, as a container's does; all else is allowed. A
call may be restricted to some of its uses: `clone:namespaces`, `mount:proc`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from typing import Final
from typing import NamedTuple

_IS_X86: Final = platform.machine() == "x86_64"
#: Numbers on x86-64 and of the generic table (asm-generic/unistd.h).
_NUMBERS: Final = {
    "clone": (56, 220),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "sethostname": (170, 161),
    "prctl": (157, 167),
    "capset": (126, 91),
    "keyctl": (250, 219),
    "memfd_create": (319, 279),
    "pidfd_send_signal": (424, 424),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "pidfd_open": (434, 434),
    "clone3": (435, 435),
    "openat2": (437, 437),
    "mount_setattr": (442, 442),
    "landlock_create_ruleset": (444, 444),
    "landlock_restrict_self": (446, 446),
}
#: CLONE_NEW* but NEWTIME, as Docker's profile has it: 0x7E020000.
_NAMESPACES: Final = 0x7E020000

# linux/bpf_common.h, linux/filter.h, linux/seccomp.h: load a word, jump if equal or any bit set.
_LOAD: Final = 0x20
_EQUAL: Final = 0x15
_ANY_BIT: Final = 0x45
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_PR_SET_SECCOMP: Final = 22
_PR_SET_NO_NEW_PRIVS: Final = 38
_FILTER: Final = 2
_ARCHITECTURE: Final = 0xC000003E if _IS_X86 else 0xC00000B7
#: Offsets in struct seccomp_data.
_NUMBER_AT: Final = 0
_ARCHITECTURE_AT: Final = 4
_FIRST_ARGUMENT_AT: Final = 16


class Refusal(NamedTuple):
    """One call, refused always or only with namespaces among its flags."""

    number: int
    only_namespaces: bool

    @classmethod
    def parse(cls, text: str) -> Refusal:
        name, _, use = text.partition(":")
        return cls(_NUMBERS[name][0 if _IS_X86 else 1], use == "namespaces")


def program(refusals: list[Refusal], code: int) -> bytes:
    """Return the filter that answers *refusals* with the errno *code*."""
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _ARCHITECTURE),
        (_RETURN, 0, 0, _ALLOW),
    ]
    for refusal in refusals:
        lines.append((_LOAD, 0, 0, _NUMBER_AT))
        if refusal.only_namespaces:
            lines.append((_EQUAL, 0, 3, refusal.number))
            lines.append((_LOAD, 0, 0, _FIRST_ARGUMENT_AT))
            lines.append((_ANY_BIT, 0, 1, _NAMESPACES))
        else:
            lines.append((_EQUAL, 0, 1, refusal.number))
        lines.append((_RETURN, 0, 0, _ERRNO | code))
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(filter_: bytes) -> None:
    """Put this process, and all that it becomes and starts, under *filter_*."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = (ctypes.c_int, *(ctypes.c_ulong,) * 4)
    whole = _Program(len(filter_) // 8, filter_)

    def put() -> bool:
        failed: int = libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.addressof(whole), 0, 0)
        return failed == 0

    # Without CAP_SYS_ADMIN one has to renounce privileges first, see seccomp(2).
    if not put() and (libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or not put()):
        raise OSError(ctypes.get_errno(), "prctl: seccomp filter")


def main(arguments: list[str]) -> None:
    name, calls, _, *command = arguments
    refusals = [Refusal.parse(call) for call in calls.split(",")]
    install(program(refusals, getattr(errno, name)))
    os.execvp(command[0], command)  # noqa: S606  # no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
