"""The parent's side of the keeper: prepare ahead, lease, retire.

A lease is a ready sandbox and the descriptors that came with it; it owns them until it is retired.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace
import os
from pathlib import Path
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING
from typing import Final
from typing import final

import pytest_isolate
from pytest_isolate.sandbox import mends
from pytest_isolate.sandbox import privileges
from pytest_isolate.sandbox import scratch
from pytest_isolate.sandbox.capabilities import Capabilities
from pytest_isolate.sandbox.cgroups.alarm import alarm_of
from pytest_isolate.sandbox.cgroups.evidence import is_counter
from pytest_isolate.sandbox.cgroups.evidence import read_evidence
from pytest_isolate.sandbox.errors import KeeperError
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.errors import step
from pytest_isolate.sandbox.survey import layers_of
from pytest_isolate.wire.channel import Socket
from pytest_isolate.wire.errors import PeerGone
from pytest_isolate.wire.frames import Hello
from pytest_isolate.wire.frames import Prepare
from pytest_isolate.wire.frames import Ready
from pytest_isolate.wire.frames import Retire
from pytest_isolate.wire.frames import Unready

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_isolate.sandbox.cgroups.alarm import Alarm
    from pytest_isolate.sandbox.outcome import Evidence
    from pytest_isolate.sandbox.spec import Spec
    from pytest_isolate.sandbox.survey import Layers

_PATIENCE_SECONDS: Final = 60.0  #: a sandbox takes milliseconds; a keeper this slow is stuck
_LAST_WORDS_SECONDS: Final = 2.0  #: a keeper that has closed its socket may still be writing
_SOCKET_FD: Final = 3
_BOOT: Final = (
    "import sys; sys.path.append(sys.argv[1]);"
    " from pytest_isolate.sandbox.keeper import main; main(*map(int, sys.argv[2:]))"
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A ready sandbox, for one process tree."""

    spec: Spec
    number: int
    pool: Pool
    init: int  #: pidfd of its PID 1
    joins: tuple[int, ...]  #: `cgroup.procs` of its cgroups, open for writing
    counters: Mapping[str, int]  #: counter files of its cgroups, open for reading
    layers: Layers | None  #: where what is written goes, of a surveyed sandbox
    scratch: str  #: the directory for its files if it has no root of its own, or ""
    alarm: Alarm | None  #: what rings when the memory cap is reached
    notes: tuple[str, ...]  #: what of the root file system could not be had in full

    def uncapped(self) -> Lease:
        """Return this sandbox for a process whose memory is nobody's concern."""
        spec = replace(self.spec, watched=None)
        return replace(self, spec=spec, joins=(), counters={}, alarm=None)

    def evidence(self) -> Evidence:
        """Return what the sandbox's cgroup has counted so far."""
        return read_evidence(self.counters)

    def kill(self) -> None:
        """Kill every process inside, at once."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.init, signal.SIGKILL)

    def retire(self) -> None:
        """Give the sandbox back; whatever is left inside dies, and no descriptor stays open."""
        layers = () if self.layers is None else self.layers.fds.values()
        for fd in (self.init, *self.joins, *self.counters.values(), *layers):
            os.close(fd)
        if self.alarm is not None:
            self.alarm.close()
        if not self.pool.retire(self.number) and self.scratch:
            with suppress(OSError):
                scratch.remove(self.scratch)


@final
class Pool:
    """The keeper, its sandboxes ahead of their tests, and what it said of this machine."""

    def __init__(self, channel: Socket, pid: int, stderr: int) -> None:
        self._socket = channel
        self._keeper = pid
        self._keeper_fd = os.pidfd_open(pid)
        self._stderr = stderr
        self._owner = os.getpid()
        with suppress(OSError):  # a test process that needs the answer will say what is wrong
            privileges.beyond_container()
        self._capabilities: Capabilities | None = None
        self._next = 1
        self._ordered: dict[int, Spec] = {}
        self._encoded: dict[Spec, dict[str, object]] = {}
        self._arrived: dict[int, tuple[Ready | Unready, list[int]]] = {}
        #: Whether a child can be forked straight into a PID namespace, see `supervisor`.
        self.forks_inside = privileges.may_fork_inside()

    @classmethod
    def start(cls, head: int | None = None) -> Pool:
        """Start a keeper for this process; it says `Hello` when it has looked around.

        *head* is the process that has started this one and others like it for one run, if there is
        one: they share a cgroup and are moved together.
        Raises `KeeperError` if there is no way to start or to watch a process here.
        """
        try:
            return cls._start(os.getpid() if head is None else head)
        except SandboxError as error:
            error.mend = error.mend or mends.for_namespaces(error.code, mends.Signs.read())
            raise KeeperError(str(error)) from None

    @classmethod
    def _start(cls, head: int) -> Pool:
        # As in a virtual environment of root's, where its user has come by setpriv(1).
        if not os.access(sys.executable, os.X_OK):
            what = f"execute {sys.executable or 'sys.executable'}"
            why = "this user may not, or it is not there"
            raise SandboxError(what, why, "run pytest by an interpreter that this user may execute")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        # Before there is a process that these are needed for.
        with step("pidfd_open"):
            own = os.pidfd_open(os.getpid())
        with step("pidfd_send_signal"):
            signal.pidfd_send_signal(own, 0)
        os.close(own)
        with step("memfd_create"):
            stderr = os.memfd_create("isolate-keeper", os.MFD_CLOEXEC)
        place = os.fspath(Path(pytest_isolate.__file__).parent.parent)
        bytecode = ["-B"] if sys.dont_write_bytecode else []
        arguments = [place, *map(str, (_SOCKET_FD, os.getpid(), head))]
        with theirs, step("posix_spawn"):
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", *bytecode, "-c", _BOOT, *arguments],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, stderr, 2),
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), _SOCKET_FD),
                ],
                # The terminal's Ctrl-C is the parent's business.
                setsid=True,
            )
        return cls(Socket(ours), pid, stderr)

    @property
    def capabilities(self) -> Capabilities:
        """What the machine gives; waits for the keeper's `Hello` the first time."""
        while self._capabilities is None:
            self._hear()
        return self._capabilities

    @property
    def ahead(self) -> int:
        """How many sandboxes are ordered and not yet leased."""
        return len(self._ordered)

    def prepare(self, spec: Spec) -> int:
        """Order a sandbox of *spec* and return its number, without waiting for it."""
        self._check_owner()
        number = self._next
        self._next += 1
        if spec not in self._encoded:
            self._encoded[spec] = spec.to_json()
        self._send(Prepare(number, self._encoded[spec]))
        self._ordered[number] = spec
        return number

    def lease(self, spec: Spec) -> Lease:
        """Return a ready sandbox of *spec*, one made ahead if there is one.

        Raises `SandboxError` if it could not be made, `KeeperError` if the keeper is gone.
        """
        self._check_owner()
        equal = (number for number, ordered in self._ordered.items() if ordered == spec)
        number = next(equal, None) or self.prepare(spec)
        while number not in self._arrived:
            self._hear()
        del self._ordered[number]
        frame, fds = self._arrived.pop(number)
        if isinstance(frame, Unready):
            raise SandboxError.from_json(frame.error)
        named = list(zip(frame.names, fds, strict=True))
        return Lease(
            spec=spec,
            number=number,
            pool=self,
            init=next(fd for name, fd in named if name == "init"),
            joins=tuple(fd for name, fd in named if name == "join"),
            counters={name: fd for name, fd in named if is_counter(name)},
            layers=layers_of(dict(named), frame.layers),
            alarm=alarm_of(dict(named), spec.limits.memory),
            scratch=frame.scratch,
            notes=tuple(frame.notes),
        )

    def retire(self, number: int) -> bool:
        """Tell the keeper that a sandbox is done with; return whether it lives to hear that."""
        try:
            self._send(Retire(number))
        except KeeperError:
            return False
        return True

    def broken(self) -> KeeperError | None:
        """Return what killed the keeper, or `None` while it lives."""
        gone = select.poll()
        gone.register(self._keeper_fd, select.POLLIN)
        return self._mourn() if gone.poll(0) else None

    def close(self) -> None:
        """Let the keeper remove everything, and wait until it has.

        Raises `KeeperError` if it did not end well, and may have left something behind.
        """
        if os.getpid() != self._owner:
            return
        self._socket.close()
        for _, fds in self._arrived.values():
            for fd in fds:
                os.close(fd)
        self._arrived.clear()
        status = 0
        with suppress(ChildProcessError):
            _, status = os.waitpid(self._keeper, 0)
        error = self._mourn() if status else None
        os.close(self._keeper_fd)
        os.close(self._stderr)
        if error is not None:
            raise error

    def _send(self, frame: Prepare | Retire) -> None:
        try:
            self._socket.send(frame)
        except PeerGone:
            raise self._mourn() from None

    def _hear(self) -> None:
        try:
            received = self._socket.receive(timeout=_PATIENCE_SECONDS)
        except TimeoutError:
            msg = f"the keeper of the sandboxes did not answer for {_PATIENCE_SECONDS:g} s"
            raise KeeperError(msg) from None
        except PeerGone:
            raise self._mourn() from None
        match received:
            case None:
                raise self._mourn()
            case Hello(capabilities=entries), _:
                self._capabilities = Capabilities.from_json(entries)
            case (Ready() | Unready()) as frame, fds if frame.sandbox in self._ordered:
                self._arrived[frame.sandbox] = frame, fds
            case _, fds:
                for fd in fds:
                    os.close(fd)

    def _mourn(self) -> KeeperError:
        gone = select.poll()
        gone.register(self._keeper_fd, select.POLLIN)
        gone.poll(_LAST_WORDS_SECONDS * 1000)
        size = os.fstat(self._stderr).st_size
        lines = os.pread(self._stderr, size, 0).decode(errors="replace").strip().splitlines()
        words = lines[-1] if lines else "it left no words; something may have killed it"
        return KeeperError(f"the keeper of the sandboxes is gone: {words}")

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            msg = "this process is a forked copy of the one whose sandboxes these are"
            raise KeeperError(msg)
