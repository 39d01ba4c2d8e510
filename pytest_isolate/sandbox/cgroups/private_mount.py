"""A writable view of the own cgroup where the machine's is mounted read-only.

Containers mount /sys/fs/cgroup read-only, but the files belong to their root. Who may make a user
and a cgroup namespace may mount the file system anew there, and what lies below the own group is
no more than was given to the container: its limits go on holding.
"""

from __future__ import annotations

import array
import os
import socket
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.cgroups import cgroupfs
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.linux import libc

if TYPE_CHECKING:
    from typing import NoReturn

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
        pid = os.fork()
        if pid == 0:
            _mount_and_send(theirs)
        theirs.close()
        fds = array.array("i")
        words, control, _, _ = ours.recvmsg(
            1, socket.CMSG_LEN(fds.itemsize), socket.MSG_CMSG_CLOEXEC
        )
    for _, _, data in control:
        fds.frombytes(data[: fds.itemsize])
    os.waitpid(pid, 0)
    if not fds:
        code = words[0] if words else _UNKNOWN
        raise SandboxError(_WHAT, os.strerror(code), code=code)
    return fds[0]


def _mount_and_send(channel: socket.socket) -> NoReturn:
    uid, gid = os.geteuid(), os.getegid()
    try:
        libc.unshare(libc.CLONE_NEWUSER | libc.CLONE_NEWNS | libc.CLONE_NEWCGROUP)
        cgroupfs.write("/proc/self/setgroups", "deny")
        cgroupfs.write("/proc/self/uid_map", f"{uid} {uid} 1\n")
        cgroupfs.write("/proc/self/gid_map", f"{gid} {gid} 1\n")
        libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
        libc.mount("cgroup2", _POINT, "cgroup2", 0)
        fd = os.open(_POINT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))]
        channel.sendmsg([b"\0"], rights)
    except OSError as error:
        channel.send(bytes([error.errno or _UNKNOWN]))
    finally:
        os._exit(0)
