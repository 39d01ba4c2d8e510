"""How a process goes into a ready sandbox, and what it leaves behind at the door.

The order matters: the namespaces first, for whoever enters a PID namespace has to fork, and only
the process itself is to be counted in the cgroup; then the cgroup namespace, whose root is the
cgroup just joined; the capabilities last, because every step before needs some.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import errno
from fnmatch import fnmatchcase
import math
import os
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.errors import step
from pytest_isolate.sandbox.features import Part
from pytest_isolate.sandbox.launch import hardening
from pytest_isolate.sandbox.launch import namespaces
from pytest_isolate.sandbox.linux import libc

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_isolate.sandbox.launch.descriptors import Covered
    from pytest_isolate.sandbox.spec import Spec


_ENTER: Final = "enter namespaces"
_THREADS: Final = (
    "a library of C has started threads in the forked process, and one of several threads may not"
)
_BEFORE_IT: Final = (
    "ask for isolation before it is loaded, with --isolate or isolate = true in the ini file, or"
    " close what it keeps threads for (a channel of gRPC) before the first isolated test"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How one process goes in."""

    cwd: str
    env: Mapping[str, str] = field(default_factory=dict)  #: added
    pass_env: tuple[str, ...] | None = None  #: patterns of what is kept; `None` is everything
    keep_fds: tuple[int, ...] = ()  #: inherited descriptors that the test may use, besides 0 to 2
    new_session: bool = True
    new_group: bool = False  #: a process group of its own, in the session of its caller
    #: Whether its caller is a `Deputy` for it, and so what is between the two has to be.
    attended: bool = False
    terminal: int = -1  #: the caller's descriptor of the terminal that both have, if attended
    preload: tuple[str, ...] = ()  #: libraries to load while the host's can still be found
    reopens: bool = False  #: whether regular files that are open are opened again inside
    #: Filled in the process itself, with what it has not inherited as it was.
    covered: list[Covered] = field(default_factory=list)


def enter(spec: Spec, init: int, *, pid_too: bool) -> None:
    """Enter the namespaces of the sandbox whose PID 1 the pidfd *init* is.

    A PID namespace is entered by the next child only, hence *pid_too* and a fork after it.
    """
    flags = namespaces.flags(spec)
    if not flags:
        return
    try:
        libc.setns(init, flags if pid_too else flags & ~libc.CLONE_NEWPID)
    except OSError as error:
        if error.errno == errno.EINVAL and len(os.listdir("/proc/self/task")) > 1:
            raise SandboxError(_ENTER, _THREADS, _BEFORE_IT, code=errno.EINVAL) from None
        raise SandboxError.from_os_error(error, _ENTER) from None


def join(spec: Spec, cgroups: tuple[int, ...]) -> None:
    """Join *cgroups*, and see them as the root of all."""
    with step("join cgroup"):
        for procs in cgroups:
            os.write(procs, b"0")
    if spec.partial:
        return
    with step("make cgroup namespace", Part.CGROUP):
        libc.unshare(libc.CLONE_NEWCGROUP)


def use_cpus(cpus: float | None, turn: int) -> None:
    """Run on no more CPUs than *cpus* of their time can keep busy, other ones each *turn*.

    nproc(1), `os.process_cpu_count` and whoever starts a thread a CPU count those that they may run
    on; the time itself is the cgroup's to cap.
    """
    if cpus is None:
        return
    allowed = sorted(os.sched_getaffinity(0))
    count = math.ceil(cpus)
    if count < len(allowed):
        first = turn * count
        with step("use fewer CPUs"):
            os.sched_setaffinity(0, {allowed[(first + i) % len(allowed)] for i in range(count)})


def settle(spec: Spec, entry: Entry, scratch: str = "") -> None:
    """Drop what the process must not keep, and take its place inside.

    *scratch* is the directory of a sandbox without a root of its own.
    """
    if entry.new_session:
        # A process group is inherited across PID namespaces: kill(0, sig) would reach pytest.
        os.setsid()
    elif entry.new_group:
        os.setpgid(0, 0)
    with step(f"change directory to {entry.cwd}"):
        os.chdir(entry.cwd)
    set_environment(entry)
    if spec.partial:
        hardening.confine(spec, scratch)
        return
    with step("drop capabilities"):
        hardening.drop_capabilities(spec.user, os.getuid())


def set_environment(entry: Entry) -> None:
    """Keep what `entry.pass_env` keeps and add `entry.env`."""
    if entry.pass_env is not None:
        for name in list(os.environ):
            if not any(fnmatchcase(name, pattern) for pattern in entry.pass_env):
                del os.environ[name]
    if entry.env:
        os.environ.update(entry.env)
