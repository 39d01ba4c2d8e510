"""How a process goes into a ready sandbox, and what it leaves behind at the door.

The order matters: the namespaces first, for whoever enters a PID namespace has to fork, and only
the process itself is to be counted in the cgroup; then the cgroup namespace, whose root is the
cgroup just joined; the capabilities last, because every step before needs some.
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
from pytest_isolate.sandbox import confine
from pytest_isolate.sandbox import namespaces
from pytest_isolate.sandbox import privileges
from pytest_isolate.sandbox.errors import step

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Iterable
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


def enter(spec: Spec, init: int, *, pid_too: bool) -> None:
    """Enter the namespaces of the sandbox whose PID 1 the pidfd *init* is.

    A PID namespace is entered by the next child only, hence *pid_too* and a fork after it.
    """
    flags = namespaces.flags(spec)
    if not flags:
        return
    with step("enter namespaces"):
        _libc.setns(init, flags if pid_too else flags & ~_libc.CLONE_NEWPID)


def join(spec: Spec, cgroups: tuple[int, ...]) -> None:
    """Join *cgroups*, and see them as the root of all."""
    with step("join cgroup"):
        for procs in cgroups:
            os.write(procs, b"0")
    if spec.partial:
        return
    with step("make cgroup namespace"):
        _libc.unshare(_libc.CLONE_NEWCGROUP)


def settle(spec: Spec, entry: Entry, leading_out: Iterable[int], scratch: str = "") -> None:
    """Drop what the process must not keep, and take its place inside.

    *leading_out* are the descriptors to cover, found before the fork: what a fresh fork touches
    costs a page fault. *scratch* is the directory of a sandbox without a root of its own.
    """
    if entry.new_session:
        # A process group is inherited across PID namespaces: kill(0, sig) would reach pytest.
        os.setsid()
    cover_descriptors(leading_out)
    with step(f"change directory to {entry.cwd}"):
        os.chdir(entry.cwd)
    set_environment(entry)
    if spec.partial:
        confine.confine(spec, scratch)
        return
    with step("drop capabilities"):
        privileges.drop(spec.user, os.getuid())


def set_environment(entry: Entry) -> None:
    """Keep what `entry.pass_env` keeps and add `entry.env`."""
    if entry.pass_env is not None:
        for name in list(os.environ):
            if not any(fnmatchcase(name, pattern) for pattern in entry.pass_env):
                del os.environ[name]
    if entry.env:
        os.environ.update(entry.env)


def descriptors_that_lead_out(keep: Collection[int]) -> tuple[int, ...]:
    """Return the descriptors of this process, but for *keep*, that lead out of a sandbox.

    A directory leads to the old root (CVE-2024-21626), a socket or pipe to another process, a
    file open for writing to a file of the host, a pidfd to a process that could be signalled.
    """
    return tuple(
        fd
        for fd in map(int, os.listdir("/proc/self/fd"))
        if fd not in keep and fd not in _STANDARD and _leads_out(fd)
    )


def cover_descriptors(fds: Iterable[int]) -> None:
    """Put /dev/null over *fds*; they are not closed, for their owners can still do that."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in fds:
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
