"""How a process goes into a ready sandbox, and what it leaves behind at the door.

The order matters: the cgroup first, so that nothing the test does is charged elsewhere; then the
namespaces; then the cgroup namespace, whose root is the cgroup just joined; the capabilities last,
because every step before needs some.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import fcntl
from fnmatch import fnmatchcase
import os
import stat
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox import _libc
from pytest_isolate.sandbox import namespaces
from pytest_isolate.sandbox import privileges
from pytest_isolate.sandbox.errors import step

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_isolate.sandbox.spec import Spec

_STANDARD: Final = (0, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How one process goes in."""

    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)  #: added
    pass_env: tuple[str, ...] | None = None  #: patterns of what is kept; `None` is everything
    keep_fds: tuple[int, ...] = ()  #: inherited descriptors that the test may use, besides 0 to 2
    new_session: bool = True
    preload: tuple[str, ...] = ()  #: libraries to load while the host's can still be found


def join(spec: Spec, init: int, cgroups: tuple[int, ...], *, pid_too: bool) -> None:
    """Put the calling process into the sandbox whose PID 1 the pidfd *init* is.

    A PID namespace is entered by the next child only, hence *pid_too* and a fork after it.
    """
    flags = namespaces.flags(spec)
    if not pid_too:
        flags &= ~_libc.CLONE_NEWPID
    with step("join cgroup"):
        for procs in cgroups:
            os.write(procs, b"0")
    with step("enter namespaces"):
        _libc.setns(init, flags)
    with step("make cgroup namespace"):
        _libc.unshare(_libc.CLONE_NEWCGROUP)


def settle(spec: Spec, entry: Entry, own_fds: tuple[int, ...]) -> None:
    """Drop what the process must not keep, and take its place inside."""
    if entry.new_session:
        # A process group is inherited across PID namespaces: kill(0, sig) would reach pytest.
        os.setsid()
    cover_descriptors(keep={*_STANDARD, *entry.keep_fds, *own_fds})
    with step(f"change directory to {entry.cwd}"):
        os.chdir(entry.cwd)
    set_environment(entry)
    with step("drop capabilities"):
        privileges.drop(spec.user, os.getuid())


def set_environment(entry: Entry) -> None:
    """Keep what `entry.pass_env` keeps and add `entry.env`."""
    if entry.pass_env is not None:
        for name in list(os.environ):
            if not any(fnmatchcase(name, pattern) for pattern in entry.pass_env):
                del os.environ[name]
    os.environ.update(entry.env)


def cover_descriptors(*, keep: set[int]) -> None:
    """Put /dev/null over inherited descriptors that lead out of the sandbox.

    A directory leads to the old root (CVE-2024-21626), a socket or pipe to another process, a
    file open for writing to a file of the host, a pidfd to a process that could be signalled.
    They are covered and not closed: their owners can still close them.
    """
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd not in keep and fd != null and _leads_out(fd):
            os.dup2(null, fd, inheritable=os.get_inheritable(fd))
    os.close(null)


def _leads_out(fd: int) -> bool:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:  # the descriptor of the listing itself
        return False
    kind = stat.S_IFMT(mode)
    if kind == stat.S_IFREG:
        return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    if kind in {stat.S_IFDIR, stat.S_IFSOCK, stat.S_IFIFO, stat.S_IFBLK}:
        return True
    return kind == 0 and os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[pidfd]"
