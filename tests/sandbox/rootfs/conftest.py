"""Sandboxes of the machine's root and of an ordinary user, and on machines with other mounts.

A keeper makes them, and finds at its start who it is and what is mounted: so each has its own.
"""

from __future__ import annotations

from contextlib import ExitStack
from contextlib import closing
from dataclasses import dataclass
from dataclasses import replace
import encodings.idna  # noqa: F401  # for getaddrinfo, before the library is out of reach
from multiprocessing import Pipe
import os
from pathlib import Path
import socket
import tempfile
import traceback
from typing import TYPE_CHECKING
from typing import Final
from typing import NoReturn
from typing import Protocol
from typing import TypeVar

import pytest

from pytest_isolate.sandbox.keeper import service
from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.linux import capabilities
from pytest_isolate.sandbox.linux import libc  # the calls that Python lacks
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.pool import Pool
from pytest_isolate.sandbox.supervise import execution
from pytest_isolate.wire.channel import Socket

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from pytest_isolate.sandbox.spec import Spec
    from pytest_isolate.wire.channel import Writer

T = TypeVar("T")

_ORDINARY: Final = 1000
#: How notes begin of what an old kernel, a container without pivot_root(2), and one whose settings
#: are read-only, as a sandbox's, lack.
_EVERYWHERE: Final = ("directories that cannot", "the old root covered", "low ports and ping")


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
    """A process of the sandbox failed; the text is its traceback."""


class Sandbox:
    """A sandbox that a keeper of its own has made, ready to be entered."""

    def __init__(
        self, identity: Identity, spec: Spec, landscape: Callable[[], None] | None = None
    ) -> None:
        self._identity: Final = identity
        self._keeper: Final = _start_keeper(identity, landscape)
        self._pool: Final = self._keeper.pool()
        try:
            self._sandbox: Final = self._pool.acquire(spec)
        except BaseException:
            self._pool.close()
            raise

    @property
    def all_notes(self) -> tuple[str, ...]:
        """What is less than planned."""
        return tuple(map(str, self._sandbox.shortfalls))

    @property
    def notes(self) -> tuple[str, ...]:
        """What is less than planned, but for what a kernel or a container makes less everywhere."""
        return tuple(note for note in self.all_notes if not note.startswith(_EVERYWHERE))

    def run(self, call: Callable[..., T], *arguments: object) -> T:
        """Return what *call* returns in a process inside."""
        ours, theirs = Pipe(duplex=False)
        pid = os.fork()
        if pid == 0:
            ours.close()
            _answer(theirs, lambda: self._launch(theirs, call, arguments))
            os._exit(0)
        theirs.close()
        try:
            fine, value = ours.recv()
        finally:
            os.waitpid(pid, 0)
            ours.close()
        if not fine:
            raise FailedInsideError(value)
        return value  # type: ignore[no-any-return]  # what came by the pipe

    def close(self) -> None:
        """End everything inside, and the keeper."""
        self._sandbox.retire()
        self._pool.close()

    def _launch(
        self, answer: Connection, call: Callable[..., object], arguments: tuple[object, ...]
    ) -> None:
        """Be who enters, and have a process inside answer."""
        self._identity.assume()
        # Whether it may be forked inside depends on who this is now.
        sandbox = replace(self._sandbox, keeping=self._keeper.pool())

        def main(_: Writer) -> None:
            _answer(answer, lambda: answer.send((True, call(*arguments))))

        end = execution.run(sandbox, Entry(cwd="/", keep_fds=(answer.fileno(),)), main)
        if end.outcome != Exited(0):
            raise FailedInsideError(end.outcome)


class Maker(Protocol):
    """Makes a sandbox."""

    def __call__(self, spec: Spec, landscape: Callable[[], None] | None = None) -> Sandbox: ...


def _answer(answer: Connection, body: Callable[[], None]) -> None:
    """Do *body*, which answers; if it cannot, why is the answer."""
    try:
        body()
    except BaseException as error:  # noqa: BLE001  # the outermost frame of a forked child
        answer.send((False, "".join(traceback.format_exception(error))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeper:
    """A process that keeps sandboxes, and how to speak to it."""

    pid: int
    channel: Socket
    words: int  #: what it says of its end

    def pool(self) -> Pool:
        """Return it as the calling process, and who that is, uses it."""
        return Pool(self.channel, self.pid, self.words)


def _start_keeper(identity: Identity, landscape: Callable[[], None] | None) -> Keeper:
    """Start a keeper for *identity*, on the machine with what *landscape* mounts.

    A fork of this process, and not a program as `Pool.start` has it: an ordinary user may execute
    no interpreter that lies in root's home.
    """
    ours, theirs = socket.socketpair()
    words = os.memfd_create("keeper")
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _be_keeper(identity, landscape, theirs.fileno(), parent, words)
    theirs.close()
    return Keeper(pid=pid, channel=Socket(ours), words=words)


def _be_keeper(
    identity: Identity,
    landscape: Callable[[], None] | None,
    channel: int,
    parent: int,
    words: int,
) -> NoReturn:
    """Be the keeper of *parent*, in a fork of it; the last of its *words* may be quoted."""
    status = 1
    try:
        os.setsid()
        os.dup2(words, 2)
        if landscape is not None:
            libc.unshare(libc.CLONE_NEWNS)
            libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
            landscape()
        identity.assume()
        service.main(channel, parent, parent)
        status = 0
    except BaseException:  # noqa: BLE001  # the outermost frame of a forked child
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status)


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
    with ExitStack() as made:

        def make(spec: Spec, landscape: Callable[[], None] | None = None) -> Sandbox:
            if landscape is not None and not capabilities.is_machine_root():
                pytest.skip("needs the machine's root to mount")
            return made.enter_context(closing(Sandbox(identity, spec, landscape)))

        yield make


@pytest.fixture(autouse=True)
def _clean(nothing_is_left: None) -> None:
    """Fail if a test leaves a mount or a process."""
