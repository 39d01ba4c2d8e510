"""A sandbox built from outside, by the machine's root: no process of it does any work.

The keeper walks through the namespaces itself: it lays the root out in a mount namespace of its
own, clones init into all the others at once, mounts there what takes the sandbox's processes,
network and IPC to mount, and comes back. Init then copies the finished mount namespace into its
user namespace, which locks all of it. A warm process does everything: forks that build cost more
in page faults than in work.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
import os
import signal
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.errors import step
from pytest_isolate.sandbox.features import Part
from pytest_isolate.sandbox.forked_call import NoAnswerError
from pytest_isolate.sandbox.forked_call import forked_call
from pytest_isolate.sandbox.keeper import init
from pytest_isolate.sandbox.keeper import prepare_root
from pytest_isolate.sandbox.launch import namespaces
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.linux import waits
from pytest_isolate.sandbox.shortfalls import Shortfall

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_isolate.sandbox.keeper.build_plan import BuildPlan

#: The namespaces in which the keeper works for a moment.
_VISITED: Final = (Part.MNT, Part.PID, Part.UTS, Part.IPC, Part.NET)


@final
class OwnNamespaces:
    """The namespaces that this process belongs to, kept open so that it can come back to them."""

    def __init__(self, *, knows_pidns: bool | None = None) -> None:
        flags = os.O_RDONLY | os.O_CLOEXEC
        self._fds = {
            os.open(f"/proc/self/ns/{part}", flags): namespaces.FLAGS[part] for part in _VISITED
        }
        self._root = os.open("/", os.O_PATH | os.O_CLOEXEC)
        self.is_chroot = False  #: whether its root is a chroot's, known after the first return
        #: Whether a proc of another PID namespace can be mounted from outside, `None` to try.
        self.knows_pidns: Final = self._try_pidns() if knows_pidns is None else knows_pidns

    def _try_pidns(self) -> bool:
        """Mount a proc over our own, in a mount namespace that is left at once (Linux 6.18)."""
        with self.restored():
            libc.unshare(libc.CLONE_NEWNS)
            libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
            try:
                libc.mount("proc", "/proc", "proc", 0, "pidns=/proc/self/ns/pid")
            except OSError:
                return False
        return True

    def close(self) -> None:
        """Give back the descriptors."""
        for fd in (self._root, *self._fds):
            os.close(fd)
        self._fds.clear()

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Let the caller leave; at the end of the `with` this process is back in all of them.

        A process that cannot come back is of no use any more. Nothing may be imported on the way:
        the root file system may be another one.
        """
        try:
            yield
        finally:
            for fd, flag in self._fds.items():
                libc.setns(fd, flag)
            # setns(2) has led to the root of the mount namespace, which a chroot's is not.
            self.is_chroot = not os.path.samestat(os.stat("/"), os.fstat(self._root))
            if self.is_chroot:
                os.fchdir(self._root)
                os.chroot(".")


@dataclass(frozen=True, slots=True)
class Assembled:
    """A sandbox that has everything, once init has copied the mounts."""

    init: int  #: pid
    pidfd: int
    shortfalls: tuple[Shortfall, ...]
    layers: dict[str, int]  #: descriptors, see `prepare_root.open_layers`

    @property
    def covered(self) -> bool:
        """Whether the old root is still there, under the new one."""
        return prepare_root.is_covered(self.shortfalls)


def assemble(plan: BuildPlan, own: OwnNamespaces, report: int, life: int) -> Assembled:
    """Build the sandbox of *plan*; its init is told to go on by one byte to the other *life*.

    Raises `SandboxError`.
    """
    pid = pidfd = -1
    layers: dict[str, int] = {}
    try:
        with own.restored():
            with step("make mount namespace"):
                libc.unshare(libc.CLONE_NEWNS)
            less = prepare_root.lay_out(plan, userns=False)
            layers = prepare_root.open_layers(plan)
            with step("make namespaces"):
                pid = libc.clone(namespaces.flags(plan.spec) & ~libc.CLONE_NEWNS)
            if pid == 0:
                init.be_assembled(report, life)
            pidfd = os.pidfd_open(pid)
            namespaces.write_maps(plan.maps, pid)
            less += _furnish(plan, own, pid, pidfd)
    except (OSError, SandboxError) as error:
        if pid > 0:
            os.kill(pid, signal.SIGKILL)
            waits.reap(pid)
        for fd in (pidfd, *layers.values()):
            if fd >= 0:
                os.close(fd)
        if isinstance(error, SandboxError):
            raise
        raise SandboxError.from_os_error(error) from None
    return Assembled(pid, pidfd, less, layers)


def _furnish(plan: BuildPlan, own: OwnNamespaces, pid: int, pidfd: int) -> tuple[Shortfall, ...]:
    """Go where init is, and finish there what it takes its namespaces for."""
    visited = namespaces.flags(plan.spec) & ~(libc.CLONE_NEWUSER | libc.CLONE_NEWNS)
    with step("enter namespaces"):
        libc.setns(pidfd, visited)
    prepare_root.set_host_name(plan)
    less = prepare_root.set_up_network(plan, userns=False)
    if own.knows_pidns:
        return less + prepare_root.enter_root(plan, userns=False, pids_of=pid)
    return less + _enter_by_child(plan)


def _enter_by_child(plan: BuildPlan) -> tuple[Shortfall, ...]:
    """Have the root entered by a child, which is in the PID namespace that its proc will show.

    pivot_root(2) takes along every process whose root was the old one, the caller too.
    """

    def enter() -> list[object]:
        return [one.to_json() for one in prepare_root.enter_root(plan, userns=False)]

    try:
        less = forked_call(enter)
    except NoAnswerError as silence:
        why = f"no answer of {waits.describe(silence.pid)}"
        raise SandboxError("enter root", why) from None
    return tuple(map(Shortfall.from_json, less))
