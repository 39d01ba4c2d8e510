"""The system calls on namespaces, mounts, processes and privileges that Python 3.11 lacks.

What a sandbox is made by, see `native`.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

from pytest_isolate.sandbox.linux.native import LIBC
from pytest_isolate.sandbox.linux.native import MACHINE
from pytest_isolate.sandbox.linux.native import fail

# linux/sched.h
CLONE_NEWNS: Final = 0x00020000
CLONE_NEWCGROUP: Final = 0x02000000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000

# linux/mount.h
MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_NOSYMFOLLOW: Final = 256  #: Linux 5.10
MS_NOATIME: Final = 1024
MS_NODIRATIME: Final = 2048
MS_BIND: Final = 4096
MS_MOVE: Final = 8192
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MS_RELATIME: Final = 1 << 21
MS_STRICTATIME: Final = 1 << 24
MNT_DETACH: Final = 2
MOUNT_ATTR_RDONLY: Final = 1
MOUNT_ATTR_NODEV: Final = 4
AT_FDCWD: Final = -100
AT_RECURSIVE: Final = 0x8000

# linux/openat2.h
RESOLVE_NO_XDEV: Final = 0x01
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_IN_ROOT: Final = 0x10

# linux/prctl.h
PR_SET_DUMPABLE: Final = 4
PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38

# linux/capability.h
LINUX_CAPABILITY_VERSION_3: Final = 0x20080522

_NR_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41, "riscv64": 41}.get(MACHINE, -1)
_NR_OPENAT2: Final = 437
_NR_CLONE: Final = {"x86_64": 56, "aarch64": 220, "riscv64": 220}.get(MACHINE, -1)
_NR_MOUNT_SETATTR: Final = 442

LIBC.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
LIBC.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
LIBC.unshare.argtypes = (ctypes.c_int,)
LIBC.setns.argtypes = (ctypes.c_int, ctypes.c_int)
LIBC.prctl.argtypes = (ctypes.c_int,) + (ctypes.c_ulong,) * 4
LIBC.sethostname.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
LIBC.capset.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
#: Calls by this keep the interpreter's lock.
_python: Final = ctypes.PyDLL(None, use_errno=True)
_python.syscall.restype = ctypes.c_long
#: Without handlers since glibc 2.34, musl 1.2.2.
_fork: Final = getattr(_python, "_Fork", _python.fork)
_python.PyOS_BeforeFork.restype = None
_python.PyOS_AfterFork_Child.restype = None
_python.PyOS_AfterFork_Parent.restype = None


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


_CapDataPair: Final = _CapData * 2  # made once: a ctypes array type costs 0.2 ms in a fresh fork


class _MountAttr(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def _c(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def mount(
    source: str | None, target: str, fstype: str | None = None, flags: int = 0, data: str = ""
) -> None:
    """Mount *source* on *target*, see mount(2)."""
    if LIBC.mount(_c(source), _c(target), _c(fstype), flags, _c(data or None)) == -1:
        fail(f"mount {fstype or source or 'flags'} on", target)


def umount2(target: str, flags: int = 0) -> None:
    """Detach the file system mounted at *target*, see umount2(2)."""
    if LIBC.umount2(_c(target), flags) == -1:
        fail("umount2", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make *new_root* the root mount and put the old one on *put_old*, see pivot_root(2)."""
    if LIBC.syscall(_NR_PIVOT_ROOT, _c(new_root), _c(put_old)) == -1:
        fail("pivot_root", new_root)


def mount_setattr(path: str, *, set_: int = 0, propagation: int = 0, recursive: bool) -> None:
    """Change the mount at *path*, and those below if *recursive*; Linux 5.12."""
    attr = _MountAttr(attr_set=set_, propagation=propagation)
    flags = AT_RECURSIVE if recursive else 0
    done = LIBC.syscall(
        _NR_MOUNT_SETATTR,
        AT_FDCWD,
        _c(path),
        flags,
        ctypes.byref(attr),
        ctypes.c_size_t(ctypes.sizeof(attr)),
    )
    if done == -1:
        fail("mount_setattr", path)


def openat2(dir_fd: int, path: str, flags: int, *, resolve: int) -> int:
    """Open *path* from *dir_fd*, restricted by the RESOLVE_* flags; Linux 5.6."""
    how = _OpenHow(flags=flags, resolve=resolve)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    fd = int(LIBC.syscall(_NR_OPENAT2, dir_fd, _c(path), ctypes.byref(how), size))
    if fd == -1:
        fail("openat2", path)
    return fd


def unshare(flags: int) -> None:
    """Leave the namespaces of *flags* for fresh ones, see unshare(2)."""
    if LIBC.unshare(flags) == -1:
        fail("unshare", None)


def clone(flags: int) -> int:
    """Fork a child into fresh namespaces of *flags*, see clone(2); for a process of one thread.

    os.fork(3) and unshare(2) would take two forks for a PID namespace. libc's own handlers around
    a fork do not run, which only threads would need; Python's do.
    """
    _python.PyOS_BeforeFork()
    pid: int = _python.syscall(_NR_CLONE, flags | signal.SIGCHLD, None, None, None, None)
    if pid == 0:
        _python.PyOS_AfterFork_Child()
        return 0
    code = ctypes.get_errno()
    _python.PyOS_AfterFork_Parent()
    if pid == -1:
        ctypes.set_errno(code)
        fail("clone", None)
    return pid


def fork() -> int:
    """Fork as fork(2), without Python's handlers and libraries'; for a process of one thread.

    What CPython and libc do beside in a child is for what other threads have held.
    """
    pid: int = _fork()
    if pid == -1:
        fail("fork", None)
    return pid


def setns(fd: int, flags: int) -> None:
    """Enter the namespaces of *flags* of a pidfd (Linux 5.8) or the one of a namespace file."""
    if LIBC.setns(fd, flags) == -1:
        fail("setns", None)


#: In C alone: what a partial of them calls runs no byte code.
setns_in_c: Final = _python.setns
after_fork_in_child: Final = _python.PyOS_AfterFork_Child


def pthread_atfork(in_parent: object, in_child: object) -> None:
    """Have functions of C called after each fork, see pthread_atfork(3)."""
    # glibc has it for static linking alone, and this in the shared library.
    if register := getattr(LIBC, "__register_atfork", None):
        register(None, in_parent, in_child, None)
    else:
        LIBC.pthread_atfork(None, in_parent, in_child)


def sethostname(name: str) -> None:
    """Set the host name of the UTS namespace."""
    raw = os.fsencode(name)
    if LIBC.sethostname(raw, len(raw)) == -1:
        fail("sethostname", name)


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> None:
    """Operate on the calling process, see prctl(2)."""
    if LIBC.prctl(option, arg2, arg3, 0, 0) == -1:
        fail(f"prctl {option}", None)


def capset(permitted: int, *, inheritable: int = 0) -> None:
    """Make *permitted* (a bit mask) this thread's permitted and effective capabilities."""
    header = _CapHeader(LINUX_CAPABILITY_VERSION_3, 0)
    low, high = permitted & 0xFFFFFFFF, permitted >> 32
    ilow, ihigh = inheritable & 0xFFFFFFFF, inheritable >> 32
    data = _CapDataPair(_CapData(low, low, ilow), _CapData(high, high, ihigh))
    if LIBC.capset(ctypes.byref(header), ctypes.byref(data)) == -1:
        fail("capset", None)
