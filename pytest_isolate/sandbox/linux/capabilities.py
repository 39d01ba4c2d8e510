"""Capabilities: what this process has, and what a container gets of them."""

from __future__ import annotations

import errno
from functools import cache
from itertools import count
from itertools import takewhile
import os
from typing import Final

from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.linux import procfs

# linux/capability.h
CAP_SETGID: Final = 6
CAP_SETUID: Final = 7
CAP_SYS_ADMIN: Final = 21

_INITIAL_USER_NAMESPACE: Final = 0xEFFFFFFD  # include/linux/proc_ns.h, PROC_USER_INIT_INO

#: What Docker grants by default: chown, dac_override, fowner, fsetid, kill, setgid, setuid,
#: setpcap, net_bind_service, net_raw, sys_chroot, mknod, audit_write, setfcap
#: (docs.docker.com/engine/containers/run, "Runtime privilege and Linux capabilities").
CONTAINER_CAPS: Final = sum(1 << cap for cap in (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31))


def effective() -> int:
    """Return this process's effective capabilities as a bit mask."""
    return int(procfs.fields_of("self/status")["CapEff"], 16)


def has(mask: int, *caps: int) -> bool:
    """Return whether *mask* has all of *caps*."""
    return all(mask >> cap & 1 for cap in caps)


def in_initial_userns() -> bool:
    """Return whether this is the machine's own user namespace.

    Its id map does not tell: a sandbox of root's maps every id to itself as well.
    """
    return os.stat("/proc/self/ns/user").st_ino == _INITIAL_USER_NAMESPACE


def is_machine_root() -> bool:
    """Return whether this process may mount as the machine's own root does."""
    return has(effective(), CAP_SYS_ADMIN, CAP_SETUID, CAP_SETGID) and in_initial_userns()


def may_fork_inside() -> bool:
    """Return whether this process may point its children at a PID namespace, and back again.

    In a user namespace that it has made it has every capability, but none over the PID namespace
    that it came with.
    """
    if not has(effective(), CAP_SYS_ADMIN):
        return False
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        libc.setns(own, libc.CLONE_NEWPID)
    except OSError:
        return False
    finally:
        os.close(own)
    return True


@cache
def beyond_container() -> tuple[int, ...]:
    """Return the capabilities of this kernel that a container does not get.

    Asked before the fork, the answer costs the test process nothing. The kernel itself is asked: a
    /proc of processes alone, as a sandbox may have, does not say which capability is the last.
    """
    return tuple(cap for cap in takewhile(_is_known, count()) if not CONTAINER_CAPS >> cap & 1)


def _is_known(cap: int) -> bool:
    try:
        libc.prctl(libc.PR_CAPBSET_READ, cap)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True
