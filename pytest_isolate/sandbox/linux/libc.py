"""The system calls that Python 3.11 lacks, one function each.

Universal wrappers and nothing above them: arguments as in the man page, an `OSError` that names
the call and the path. Numbers are those of the generic table (asm-generic/unistd.h), which x86-64
shares for every call since pidfd_open.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
from typing import Final
from typing import NoReturn

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

# linux/falloc.h
FALLOC_FL_KEEP_SIZE: Final = 1
FALLOC_FL_PUNCH_HOLE: Final = 2

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

_MACHINE: Final = os.uname().machine
_NR_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41, "riscv64": 41}.get(_MACHINE, -1)
_NR_OPENAT2: Final = 437
_NR_TGKILL: Final = {"x86_64": 234, "aarch64": 131, "riscv64": 131}.get(_MACHINE, -1)

_NR_CLONE: Final = {"x86_64": 56, "aarch64": 220, "riscv64": 220}.get(_MACHINE, -1)
_NR_MOUNT_SETATTR: Final = 442
_NR_LANDLOCK_CREATE_RULESET: Final = 444
_NR_LANDLOCK_ADD_RULE: Final = 445
_NR_LANDLOCK_RESTRICT_SELF: Final = 446

# linux/eventpoll.h
_EPOLL_CTL_ADD: Final = 1
_POLL_EVENT: Final = struct.Struct("=IQ" if _MACHINE == "x86_64" else "=I4xQ")

# linux/landlock.h
_LANDLOCK_CREATE_RULESET_VERSION: Final = 1
_LANDLOCK_RULE_PATH_BENEATH: Final = 1

_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.setns.argtypes = (ctypes.c_int, ctypes.c_int)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t) + (ctypes.c_int,) * 3 + (ctypes.c_long,)
_libc.mmap.restype = ctypes.c_void_p
_libc.prctl.argtypes = (ctypes.c_int,) + (ctypes.c_ulong,) * 4
_libc.sethostname.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
_libc.capset.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
_libc.sigaction.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_libc.syscall.restype = ctypes.c_long
# asm-generic/mman-common.h
_MAP_FIXED: Final = 0x10
_MAP_FAILED: Final = ctypes.c_void_p(-1).value
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


_SignalSet: Final = ctypes.c_uint64 * 16  # <bits/types/__sigset_t.h>


class SignalAction(ctypes.Structure):
    """What a process makes of a signal; all zeroes are the default."""

    _fields_ = (
        ("handler", ctypes.c_void_p),
        ("mask", _SignalSet),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    )


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


class _LandlockRuleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _LandlockPath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"  # what _pack_ implies, and Python 3.14 wants said
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def _fail(call: str, path: str | None = None) -> NoReturn:
    code = ctypes.get_errno()
    raise OSError(code, f"{call}: {os.strerror(code)}", path)


def _c(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def mount(
    source: str | None, target: str, fstype: str | None = None, flags: int = 0, data: str = ""
) -> None:
    """Mount *source* on *target*, see mount(2)."""
    if _libc.mount(_c(source), _c(target), _c(fstype), flags, _c(data or None)) == -1:
        _fail(f"mount {fstype or source or 'flags'} on", target)


def umount2(target: str, flags: int = 0) -> None:
    """Detach the file system mounted at *target*, see umount2(2)."""
    if _libc.umount2(_c(target), flags) == -1:
        _fail("umount2", target)


def pivot_root(new_root: str, put_old: str) -> None:
    """Make *new_root* the root mount and put the old one on *put_old*, see pivot_root(2)."""
    if _libc.syscall(_NR_PIVOT_ROOT, _c(new_root), _c(put_old)) == -1:
        _fail("pivot_root", new_root)


def mount_setattr(path: str, *, set_: int = 0, propagation: int = 0, recursive: bool) -> None:
    """Change the mount at *path*, and those below if *recursive*; Linux 5.12."""
    attr = _MountAttr(attr_set=set_, propagation=propagation)
    flags = AT_RECURSIVE if recursive else 0
    done = _libc.syscall(
        _NR_MOUNT_SETATTR,
        AT_FDCWD,
        _c(path),
        flags,
        ctypes.byref(attr),
        ctypes.c_size_t(ctypes.sizeof(attr)),
    )
    if done == -1:
        _fail("mount_setattr", path)


def openat2(dir_fd: int, path: str, flags: int, *, resolve: int) -> int:
    """Open *path* from *dir_fd*, restricted by the RESOLVE_* flags; Linux 5.6."""
    how = _OpenHow(flags=flags, resolve=resolve)
    size = ctypes.c_size_t(ctypes.sizeof(how))
    fd = int(_libc.syscall(_NR_OPENAT2, dir_fd, _c(path), ctypes.byref(how), size))
    if fd == -1:
        _fail("openat2", path)
    return fd


def punch_hole(fd: int, start: int, length: int) -> None:
    """Give back what *length* bytes of a file from *start* on take, see fallocate(2)."""
    mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
    if _libc.fallocate(fd, mode, start, length) == -1:
        _fail("fallocate", None)


def map_over(start: int, length: int, protection: int, flags: int, *, fd: int, offset: int) -> None:
    """Map a part of the file *fd* over what is at *start*, see mmap(2)."""
    flags |= _MAP_FIXED
    if _libc.mmap(start, length, protection, flags, fd, offset) == _MAP_FAILED:
        _fail("mmap", None)


def mincore(start: int, length: int) -> bytes:
    """Return a byte for each page of a mapping, odd where there is one, see mincore(2)."""
    pages = ctypes.create_string_buffer(-(-length // mmap.PAGESIZE))
    if _libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(length), pages) == -1:
        _fail("mincore", None)
    return pages.raw


def tee(source: int, target: int, length: int) -> int:
    """Copy what is in the pipe *source* to the pipe *target*, without waiting, see tee(2)."""
    done: int = _libc.tee(source, target, ctypes.c_size_t(length), os.SPLICE_F_NONBLOCK)
    if done == -1:
        _fail("tee", None)
    return done


def epoll_create() -> int:
    """Return a fresh set of descriptors to wait for, see epoll_create1(2)."""
    fd: int = _libc.epoll_create1(os.O_CLOEXEC)
    if fd == -1:
        _fail("epoll_create", None)
    return fd


def epoll_add(poll: int, fd: int, events: int, data: int) -> None:
    """Have *poll* wait for *events* of *fd*, and tell *data*, 64 bits, of them: epoll_ctl(2).

    The module `select` tells nothing but the descriptor.
    """
    if _libc.epoll_ctl(poll, _EPOLL_CTL_ADD, fd, _POLL_EVENT.pack(events, data)) == -1:
        _fail("epoll_ctl", None)


def unshare(flags: int) -> None:
    """Leave the namespaces of *flags* for fresh ones, see unshare(2)."""
    if _libc.unshare(flags) == -1:
        _fail("unshare", None)


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
        _fail("clone", None)
    return pid


def fork() -> int:
    """Fork as fork(2), without Python's handlers and libraries'; for a process of one thread.

    What CPython and libc do beside in a child is for what other threads have held.
    """
    pid: int = _fork()
    if pid == -1:
        _fail("fork", None)
    return pid


def tgkill(pid: int, thread: int, number: int) -> None:
    """Send signal *number* to one *thread* of process *pid*, see tgkill(2)."""
    if _libc.syscall(_NR_TGKILL, pid, thread, number) == -1:
        _fail("tgkill", None)


def block_during(number: int, other: int) -> None:
    """Have signal *other* wait while the handler of *number* runs, see sigaction(2)."""
    action = SignalAction()
    if _libc.sigaction(number, None, ctypes.byref(action)) == -1:
        _fail("sigaction", None)
    action.mask[0] |= 1 << (other - 1)
    if _libc.sigaction(number, ctypes.byref(action), None) == -1:
        _fail("sigaction", None)


def sigaction(number: int, action: SignalAction | None) -> SignalAction:
    """Put *action*, or the default if `None`, in the place of a signal's; return that.

    In any thread, and for handlers that are not Python's, see sigaction(2).
    """
    before = SignalAction()
    now = SignalAction() if action is None else action
    if _libc.sigaction(number, ctypes.byref(now), ctypes.byref(before)) == -1:
        _fail("sigaction", None)
    return before


def setns(fd: int, flags: int) -> None:
    """Enter the namespaces of *flags* of a pidfd (Linux 5.8) or the one of a namespace file."""
    if _libc.setns(fd, flags) == -1:
        _fail("setns", None)


#: In C alone: what a partial of them calls runs no byte code.
setns_in_c: Final = _python.setns
after_fork_in_child: Final = _python.PyOS_AfterFork_Child


def pthread_atfork(in_parent: object, in_child: object) -> None:
    """Have functions of C called after each fork, see pthread_atfork(3)."""
    # glibc has it for static linking alone, and this in the shared library.
    if register := getattr(_libc, "__register_atfork", None):
        register(None, in_parent, in_child, None)
    else:
        _libc.pthread_atfork(None, in_parent, in_child)


def sethostname(name: str) -> None:
    """Set the host name of the UTS namespace."""
    raw = os.fsencode(name)
    if _libc.sethostname(raw, len(raw)) == -1:
        _fail("sethostname", name)


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> None:
    """Operate on the calling process, see prctl(2)."""
    if _libc.prctl(option, arg2, arg3, 0, 0) == -1:
        _fail(f"prctl {option}", None)


def capset(permitted: int, *, inheritable: int = 0) -> None:
    """Make *permitted* (a bit mask) this thread's permitted and effective capabilities."""
    header = _CapHeader(LINUX_CAPABILITY_VERSION_3, 0)
    low, high = permitted & 0xFFFFFFFF, permitted >> 32
    ilow, ihigh = inheritable & 0xFFFFFFFF, inheritable >> 32
    data = _CapDataPair(_CapData(low, low, ilow), _CapData(high, high, ihigh))
    if _libc.capset(ctypes.byref(header), ctypes.byref(data)) == -1:
        _fail("capset", None)


def landlock_abi() -> int:
    """Return the version of Landlock; Linux 5.13."""
    call = _NR_LANDLOCK_CREATE_RULESET
    version = int(_libc.syscall(call, None, 0, _LANDLOCK_CREATE_RULESET_VERSION))
    if version == -1:
        _fail("landlock_create_ruleset")
    return version


def landlock_create_ruleset(files: int, network: int, scopes: int) -> int:
    """Return a ruleset that denies the LANDLOCK_ACCESS_* and LANDLOCK_SCOPE_* given."""
    attr = _LandlockRuleset(files, network, scopes)
    # A kernel refuses a structure that goes on, not all zeroes, beyond what it knows.
    size = ctypes.c_size_t(ctypes.sizeof(attr))
    fd = int(_libc.syscall(_NR_LANDLOCK_CREATE_RULESET, ctypes.byref(attr), size, 0))
    if fd == -1:
        _fail("landlock_create_ruleset")
    return fd


def landlock_add_path(ruleset: int, place: int, allowed: int) -> None:
    """Allow *allowed* of what *ruleset* denies, in and below the file of the descriptor *place*."""
    attr = _LandlockPath(allowed, place)
    rule = ctypes.byref(attr)
    if _libc.syscall(_NR_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_RULE_PATH_BENEATH, rule, 0) == -1:
        _fail("landlock_add_rule")


def landlock_restrict_self(ruleset: int) -> None:
    """Put this thread under *ruleset*."""
    if _libc.syscall(_NR_LANDLOCK_RESTRICT_SELF, ruleset, 0) == -1:
        _fail("landlock_restrict_self")
