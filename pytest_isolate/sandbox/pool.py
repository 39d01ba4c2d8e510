"""The parent's side of the keeper: prepare ahead, acquire, retire."""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
import posix
import signal
import socket
import sys
from typing import TYPE_CHECKING
from typing import Final
from typing import final

import pytest_isolate
from pytest_isolate.sandbox import remedies
from pytest_isolate.sandbox.attached import Attached
from pytest_isolate.sandbox.cgroups.oom_notifier import notifier_of
from pytest_isolate.sandbox.errors import KeeperError
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.errors import step
from pytest_isolate.sandbox.features import Capabilities
from pytest_isolate.sandbox.handle import Sandbox
from pytest_isolate.sandbox.layers import layers_of
from pytest_isolate.sandbox.linux import capabilities
from pytest_isolate.sandbox.linux import fsnames
from pytest_isolate.sandbox.linux import pidfds
from pytest_isolate.sandbox.linux import waits
from pytest_isolate.sandbox.shortfalls import Shortfall
from pytest_isolate.wire.channel import Socket
from pytest_isolate.wire.errors import PeerGone
from pytest_isolate.wire.errors import RemoteProtocolError
from pytest_isolate.wire.frames import Hello
from pytest_isolate.wire.frames import Prepare
from pytest_isolate.wire.frames import Ready
from pytest_isolate.wire.frames import Retire
from pytest_isolate.wire.frames import Unready

if TYPE_CHECKING:
    from pytest_isolate.sandbox.spec import Spec
    from pytest_isolate.wire.frames import Frame

_SOCKET_FD: Final = 3
#: Whatever the locale is, and what the environment says of it, which -I ignores: see `fsnames`.
_UTF8: Final = ("-X", "utf8")
_BOOT: Final = (
    "import sys; sys.path.append(sys.argv[1]);"
    " from pytest_isolate.sandbox.keeper.service import main; main(*map(int, sys.argv[2:]))"
)


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
            capabilities.beyond_container()
        self._capabilities: Capabilities | None = None
        self._next = 1
        self._ordered: dict[int, Spec] = {}
        self._encoded: dict[Spec, dict[str, object]] = {}
        self._arrived: dict[int, tuple[Ready | Unready, list[int]]] = {}
        self._forks_inside = capabilities.may_fork_inside()

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
            error.fix = error.fix or remedies.for_namespaces(error.code, remedies.Signs.read())
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
            # Not by `os`, where a debugger's own stands, which would debug the keeper.
            pid = posix.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", *_UTF8, *bytecode, "-c", _BOOT, *arguments],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_DUP2, stderr, 2),
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), _SOCKET_FD),
                ],
                # The terminal's Ctrl-C is the parent's business.
                setsid=True,
                # What the parent has made of signals is its own: the keeper waits for children.
                setsigmask=(),
                setsigdef=(signal.SIGCHLD,),
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
        """How many sandboxes are ordered and not yet acquired."""
        return len(self._ordered)

    @property
    def forks_inside(self) -> bool:
        """Whether a child can be forked straight into a PID namespace, see `process`."""
        return self._forks_inside

    @property
    def fds(self) -> tuple[int, ...]:
        """Its descriptors, and those of sandboxes that wait to be acquired."""
        own = (self._socket.fileno(), self._keeper_fd, self._stderr)
        return (*own, *(fd for _, fds in self._arrived.values() for fd in fds))

    def prepare(self, spec: Spec) -> int:
        """Order a sandbox of *spec* and return its number, without waiting for it."""
        self._check_owner()
        number = self._next
        self._next += 1
        if spec not in self._encoded:
            self._encoded[spec] = fsnames.sent(spec.to_json())
        self._send(Prepare(number, self._encoded[spec]))
        self._ordered[number] = spec
        return number

    def shortfalls(self, spec: Spec) -> tuple[Shortfall, ...]:
        """Return what the sandbox of *spec* that was made ahead lacks; wait for it.

        Of none, or of one that could not be made, there is nothing to say. Raises `KeeperError`.
        """
        number = next((number for number, one in self._ordered.items() if one == spec), None)
        if number is None:
            return ()
        while number not in self._arrived:
            self._hear()
        frame, _ = self._arrived[number]
        return _shortfalls(frame) if isinstance(frame, Ready) else ()

    def acquire(self, spec: Spec) -> Sandbox:
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
            raise SandboxError.from_json(fsnames.received(frame.error))
        attached = Attached.of(zip(fsnames.received(frame.names), fds, strict=True))
        return Sandbox(
            spec=spec,
            number=number,
            keeping=self,
            init=attached.init,
            joins=attached.joins,
            counters=attached.counters,
            layers=layers_of(attached, fsnames.received(frame.layers)),
            upper=attached.upper,
            notifier=notifier_of(attached.notifier, spec.limits.memory),
            scratch=fsnames.received(frame.scratch),
            shortfalls=_shortfalls(frame),
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
        return self._error_of_keeper() if pidfds.has_ended(self._keeper_fd) else None

    def close(self) -> None:
        """Let the keeper remove everything, and wait until it has.

        Raises `KeeperError` if it did not end well, and may have left something behind.
        """
        if os.getpid() != self._owner:
            return
        # Processes that others have forked from this one may live on, with copies.
        self._socket.finish()
        self._socket.close()
        for _, fds in self._arrived.values():
            for fd in fds:
                os.close(fd)
        self._arrived.clear()
        error = self._end()
        os.close(self._keeper_fd)
        os.close(self._stderr)
        if error is not None:
            raise error

    def _end(self) -> KeeperError | None:
        """Wait for the keeper's end; return what was wrong with it."""
        with suppress(ProcessLookupError):  # it may have been stopped, and would never end
            signal.pidfd_send_signal(self._keeper_fd, signal.SIGCONT)
        if why := waits.wait(self._keeper, self._keeper_fd, waits.END):
            status = waits.reap(self._keeper, 0)
            became = "left behind" if status is None else "killed"
            return KeeperError(f"the keeper of the sandboxes did not end {why}: {became}")
        return self._error_of_keeper() if waits.reap(self._keeper) else None

    def _send(self, frame: Prepare | Retire) -> None:
        try:
            self._socket.send(frame, timeout=waits.ANSWER)
        except TimeoutError:
            raise self._silence(f"within {waits.ANSWER:g} s") from None
        except PeerGone:
            raise self._error_of_keeper() from None

    def _silence(self, why: str) -> KeeperError:
        return KeeperError(f"the keeper of the sandboxes did not answer {why}")

    def _receive(self) -> tuple[Frame, list[int]] | None:
        watch = waits.Watch(self._keeper, waits.ANSWER)
        while True:
            try:
                return self._socket.receive(timeout=watch.pause)
            except TimeoutError:
                if why := watch.why_over():
                    raise self._silence(why) from None

    def _hear(self) -> None:
        try:
            received = self._receive()
        except PeerGone:
            raise self._error_of_keeper() from None
        except RemoteProtocolError as error:
            msg = f"what the keeper of the sandboxes sends does not arrive: {error}"
            raise KeeperError(msg) from None
        match received:
            case None:
                raise self._error_of_keeper()
            case Hello(capabilities=entries), _:
                self._capabilities = Capabilities.from_json(fsnames.received(entries))
            case (Ready() | Unready()) as frame, fds if frame.sandbox in self._ordered:
                self._arrived[frame.sandbox] = frame, fds
            case _, fds:
                for fd in fds:
                    os.close(fd)

    def _error_of_keeper(self) -> KeeperError:
        pidfds.has_ended(self._keeper_fd, waits.LAST_WORDS)
        size = os.fstat(self._stderr).st_size
        lines = os.pread(self._stderr, size, 0).decode(errors="replace").strip().splitlines()
        words = lines[-1] if lines else "it left no words; something may have killed it"
        return KeeperError(f"the keeper of the sandboxes is gone: {words}")

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            msg = "this process is a forked copy of the one whose sandboxes these are"
            raise KeeperError(msg)


def _shortfalls(frame: Ready) -> tuple[Shortfall, ...]:
    return tuple(map(Shortfall.from_json, fsnames.received(frame.shortfalls)))
