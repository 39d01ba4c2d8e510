"""A writable view of the own cgroup where the machine's is mounted read-only.

Containers mount /sys/fs/cgroup read-only, but the files belong to their root. Who may make a user
and a cgroup namespace may mount the file system anew there, and what lies below the own group is
no more than was given to the container: its limits go on holding.
"""

from __future__ import annotations

from array import array
from functools import partial
import os
import socket
from typing import Final

from pytest_isolate.sandbox.cgroups import cgroupfs
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.forked_call import NoAnswerError
from pytest_isolate.sandbox.forked_call import forked_call
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.wire import fd_passing

_WHAT: Final = "mount the cgroup file system anew"
#: Any directory would do, but not the one where the same is mounted already: EBUSY.
_POINT: Final = "/sys/fs"
_UNKNOWN: Final = 255


def mount() -> int:
    """Return a descriptor of the own group, in a cgroup2 mount of our own that nobody else sees.

    Raises `SandboxError`.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            forked_call(partial(_mount_and_send, theirs))
        except SandboxError as error:
            raise SandboxError(_WHAT, error.why, code=error.code) from None
        except NoAnswerError:
            raise SandboxError(_WHAT, os.strerror(_UNKNOWN), code=_UNKNOWN) from None
        # Not `socket.recv_fds`: it takes flags, and drops them.
        room = socket.CMSG_LEN(array("i").itemsize)
        _, control, _, _ = ours.recvmsg(1, room, socket.MSG_CMSG_CLOEXEC)
    return fd_passing.unpack(control)[0]


def _mount_and_send(channel: socket.socket) -> None:
    uid, gid = os.geteuid(), os.getegid()
    libc.unshare(libc.CLONE_NEWUSER | libc.CLONE_NEWNS | libc.CLONE_NEWCGROUP)
    cgroupfs.write("/proc/self/setgroups", "deny")
    cgroupfs.write("/proc/self/uid_map", f"{uid} {uid} 1\n")
    cgroupfs.write("/proc/self/gid_map", f"{gid} {gid} 1\n")
    libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
    libc.mount("cgroup2", _POINT, "cgroup2", 0)
    fd = os.open(_POINT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    socket.send_fds(channel, [b"\0"], [fd])
