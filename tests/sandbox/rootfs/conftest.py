"""Sandboxes made of a root file system alone: no keeper, no cgroup.

A builder makes the first namespaces and its child, PID 1 inside, the root. PID 1 then enters a
user namespace of its own, which locks every mount made so far, and any number of processes follow
it by setns(2).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
import encodings.idna  # noqa: F401  # for getaddrinfo, before the library is out of reach
from multiprocessing import Pipe
import os
from pathlib import Path
import signal
import tempfile
import time
import traceback
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import NoReturn
from typing import Protocol
from typing import TypeVar

import pytest

from pytest_isolate.sandbox import mounts
from pytest_isolate.sandbox import rootfs
from pytest_isolate.sandbox.keeper import prepare_root
from pytest_isolate.sandbox.launch import hardening
from pytest_isolate.sandbox.launch import namespaces
from pytest_isolate.sandbox.launch.namespaces import IdMaps
from pytest_isolate.sandbox.launch.namespaces import IdRange
from pytest_isolate.sandbox.linux import capabilities
from pytest_isolate.sandbox.linux import libc  # the calls that Python lacks
from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

T = TypeVar("T")

_ORDINARY: Final = 1000
#: How notes begin of what an old kernel, and a container without pivot_root(2), lack.
_EVERYWHERE: Final = ("directories that cannot", "the old root covered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who makes a sandbox, and enters it."""

    uid: int
    gid: int
    home: str
    privileged: bool  #: as the machine's own root

    def own(self, *paths: Path | str) -> None:
        for path in paths:
            os.chown(path, self.uid, self.gid)

    def assume(self) -> None:
        os.environ["HOME"] = self.home
        if os.geteuid() != self.uid:
            os.setgroups(())
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)
            # A change of the user id takes /proc/self away from the process.
            libc.prctl(libc.PR_SET_DUMPABLE, 1)


class FailedInsideError(AssertionError):
    """A process of the sandbox failed; the text is its traceback, *error* what it raised."""

    def __init__(self, text: str, error: BaseException | None = None) -> None:
        super().__init__(text)
        self.error = error


class Sandbox:
    """A sandbox, ready to be entered."""

    def __init__(
        self, identity: Identity, spec: Spec, landscape: Callable[[], None] | None = None
    ) -> None:
        self._identity: Final = identity
        self._spec: Final = spec
        self._channel, theirs = Pipe()
        self._builder = os.fork()
        if self._builder == 0:
            self._channel.close()
            _guard(theirs, lambda: _build(identity, spec, theirs, landscape))
        theirs.close()
        self._init = -1
        try:
            self._init = os.pidfd_open(_receive(self._channel))
            self.all_notes, self.seconds = _receive(self._channel)
        except BaseException:
            self.close()
            raise

    @property
    def notes(self) -> tuple[str, ...]:
        """What is less than planned, but for what a kernel or a container makes less everywhere."""
        return tuple(note for note in self.all_notes if not note.startswith(_EVERYWHERE))

    def run(
        self, call: Callable[..., T], *arguments: object, before: Callable[[], None] | None = None
    ) -> T:
        """Return what *call* returns in a process inside, which calls *before* outside."""
        ours, theirs = Pipe()
        pid = os.fork()
        if pid == 0:
            ours.close()
            if before is not None:
                before()
            _guard(theirs, lambda: self._enter(theirs, call, arguments))
        theirs.close()
        try:
            value: T = _receive(ours)
        finally:
            os.waitpid(pid, 0)
            ours.close()
        return value

    def close(self) -> None:
        """End everything inside."""
        if self._init != -1:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init, signal.SIGKILL)
            os.close(self._init)
        os.waitpid(self._builder, 0)
        self._channel.close()

    def _enter(
        self, channel: Connection, call: Callable[..., object], arguments: tuple[object, ...]
    ) -> None:
        self._identity.assume()
        libc.setns(self._init, namespaces.flags(self._spec))
        os.close(self._init)
        inner = os.fork()
        if inner == 0:
            _guard(channel, lambda: self._call(channel, call, arguments))
        os.waitpid(inner, 0)

    def _call(
        self, channel: Connection, call: Callable[..., object], arguments: tuple[object, ...]
    ) -> None:
        os.setsid()
        os.chdir("/")
        hardening.drop_capabilities(self._spec.user, os.getuid())
        channel.send((True, call(*arguments)))


class Maker(Protocol):
    """Makes a sandbox."""

    def __call__(self, spec: Spec, landscape: Callable[[], None] | None = None) -> Sandbox: ...


def _guard(channel: Connection, body: Callable[[], None]) -> NoReturn:
    """Be the outermost frame of a forked child."""
    status = 1
    try:
        body()
        status = 0
    except BaseException as error:  # noqa: BLE001
        channel.send((False, ("".join(traceback.format_exception(error)), error)))
    finally:
        os._exit(status)


def _receive(channel: Connection) -> Any:
    try:
        fine, value = channel.recv()
    except EOFError:
        fine, value = False, ("the process died without a word",)
    if not fine:
        raise FailedInsideError(*value)
    return value


def _build(
    identity: Identity, spec: Spec, channel: Connection, landscape: Callable[[], None] | None
) -> None:
    if landscape is not None:
        libc.unshare(libc.CLONE_NEWNS)
        libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
        landscape()
    identity.assume()
    host = rootfs.Host.survey(privileged=identity.privileged)
    plan = rootfs.plan_root(spec, host)
    libc.unshare(libc.CLONE_NEWPID | (0 if identity.privileged else libc.CLONE_NEWUSER))
    if not identity.privileged:
        # User 0, whoever it is outside: devpts wants to belong to it.
        namespaces.write_maps(namespaces.single_maps(User.ROOT, identity.uid, identity.gid), "self")
    ours, theirs = Pipe()
    pid = os.fork()
    if pid == 0:
        ours.close()
        ends = _Ends(test=channel, builder=theirs)
        _guard(channel, lambda: _init(identity, spec, plan, ends))
    theirs.close()
    channel.send((True, pid))
    ours.send("go")
    ours.recv()
    namespaces.write_maps(_maps(identity, spec), pid)
    ours.send("mapped")
    channel.close()
    os.waitpid(pid, 0)


def _maps(identity: Identity, spec: Spec) -> IdMaps:
    """Return the maps of the inner user namespace; in the outer one the caller is user 0."""
    if identity.privileged:
        return namespaces.identity_maps()
    keep = spec.user is User.KEEP
    uids, gids = ((IdRange(i if keep else 0, 0, 1),) for i in (identity.uid, identity.gid))
    return IdMaps(uids=uids, gids=gids, from_outside=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """What PID 1 speaks through."""

    test: Connection
    builder: Connection


def _init(identity: Identity, spec: Spec, plan: rootfs.Plan, ends: _Ends) -> None:
    ends.builder.recv()
    start = time.perf_counter()
    # Not the builder's: pivot_root moves every process of the mount namespace.
    libc.unshare(libc.CLONE_NEWNS)
    libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
    place = rootfs.staging_place(plan)
    libc.mount("tmpfs", place, "tmpfs", libc.MS_NODEV, "mode=0755")
    root, layers = f"{place}/root", f"{place}/layers"
    os.mkdir(root, 0o755)
    os.mkdir(layers, 0o700)
    libc.mount(root, root, None, libc.MS_BIND)
    userns = not identity.privileged
    notes = mounts.execute(plan.outer + plan.processes, root, layers, userns=userns)
    libc.unshare(namespaces.flags(spec) & ~libc.CLONE_NEWPID)
    # Not from here: inside another sandbox /proc may be read-only.
    ends.builder.send("map")
    ends.builder.recv()
    # What comes from another user namespace is locked, and cannot become the root.
    libc.mount(root, root, None, libc.MS_BIND | libc.MS_REC)
    notes += mounts.execute(plan.devices, root, "/nowhere", userns=True)
    os.chdir(root)
    notes += prepare_root.change_root(spec)
    with contextlib.suppress(PermissionError):  # podman's seccomp filter
        libc.sethostname(spec.hostname or "")
    seconds = time.perf_counter() - start
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    ends.test.send((True, (tuple(map(str, notes)), seconds)))
    ends.test.poll(None)  # until the test's process is gone


@pytest.fixture(params=["machine's root", "ordinary user"])
def identity(
    request: pytest.FixtureRequest, outside: Path, require: Callable[[str], None]
) -> Identity:
    """Who makes the sandbox: the machine's root, and someone with no privilege."""
    require("sandbox")
    home = outside / "home"
    home.mkdir()
    if request.param == "machine's root":
        if not capabilities.is_machine_root():
            pytest.skip("needs the machine's root")
        return Identity(uid=0, gid=0, home=str(home), privileged=True)
    uid, gid = (os.geteuid(), os.getegid()) if os.geteuid() else (_ORDINARY, _ORDINARY)
    identity = Identity(uid=uid, gid=gid, home=str(home), privileged=False)
    identity.own(outside, home)
    return identity


@pytest.fixture
def outside() -> Iterator[Path]:
    """Return a directory of the host that sandboxes show, copy on write."""
    place = "/srv" if os.access("/srv", os.W_OK) else os.environ["HOME"]
    with tempfile.TemporaryDirectory(prefix="isolate-", dir=place) as path:
        yield Path(path)


@pytest.fixture
def sandbox(identity: Identity) -> Iterator[Maker]:
    """Return a maker of sandboxes, which end with the test.

    Its second argument mounts what the machine is to have, as the machine's root.
    """
    made: list[Sandbox] = []

    def make(spec: Spec, landscape: Callable[[], None] | None = None) -> Sandbox:
        if landscape is not None and not capabilities.is_machine_root():
            pytest.skip("needs the machine's root to mount")
        made.append(Sandbox(identity, spec, landscape))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Fail if a test leaves a mount or a process."""
    before = mountinfo.current()
    yield
    assert mountinfo.current() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
