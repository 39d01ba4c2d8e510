"""The one place where frames meet descriptors: a pipe out of a test, a socket to the keeper.

A `Writer` and a `Reader` are the two ends of the pipe that a test process speaks into; a `Socket`
is either end of the conversation of parent and keeper. Each owns its descriptor.
"""

from __future__ import annotations

from array import array
from collections import deque
from contextlib import suppress
import os
import select
import socket
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.wire.codec import Decoder
from pytest_isolate.wire.codec import encode
from pytest_isolate.wire.errors import LocalProtocolError
from pytest_isolate.wire.errors import PeerGone
from pytest_isolate.wire.errors import RemoteProtocolError
from pytest_isolate.wire.fd_passing import Pairing
from pytest_isolate.wire.fd_passing import descriptors
from pytest_isolate.wire.fd_passing import unpack
from pytest_isolate.wire.frames import MAX_DESCRIPTORS
from pytest_isolate.wire.protocol import State
from pytest_isolate.wire.protocol import advance
from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from pytest_isolate.wire.frames import Frame

#: How much `Reader.drain` takes in at most, in bytes: as much as a pipe may hold unprivileged.
DRAIN_LIMIT: Final = 1024 * 1024

_CHUNK: Final = 64 * 1024
_RIGHTS_SPACE: Final = socket.CMSG_SPACE(MAX_DESCRIPTORS * array("i").itemsize)
_SEND_FLAGS: Final[int] = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_RECEIVE_FLAGS: Final[int] = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC


class Writer:
    """The test process's end of its pipe: blocking, and whole frames only.

    Belongs to the process that made it: in a process that a test forks it sends nothing. For one
    thread, but its signal handlers may raise out of `send` (a time limit, Ctrl-C): then the rest
    of the frame goes out ahead of the next one. A test that closes the descriptor loses the pipe,
    but no frame lands in another file.
    """

    def __init__(self, fd: int) -> None:
        """Take over *fd*, a pipe's write end, in blocking mode."""
        self.fd = fd
        self._owner = RealOS.getpid()
        self._pipe = _identity(RealOS.fstat(fd))
        self._outgoing: deque[tuple[bytes, list[int]]] = deque()  # and what of it has been written
        self._flushing = False

    def send(self, frame: Frame) -> None:
        """Send *frame*, waiting for room.

        Raises `LocalProtocolError` for a frame that cannot be encoded (another can be sent
        instead) and `PeerGone` when the pipe is closed on either side.
        """
        if RealOS.getpid() != self._owner:
            return
        self._outgoing.append((encode(frame), []))
        if self._flushing:
            return  # a signal handler sends while it interrupts a `send`, which will do this too
        if not self._is_open():
            raise PeerGone("the pipe to the parent was closed in this process")
        self._flushing = True
        try:
            self._flush()
        except BrokenPipeError:
            raise PeerGone("the parent has closed its end of the pipe") from None
        finally:
            self._flushing = False

    def close(self) -> None:
        """Close the pipe; once is enough."""
        if self._is_open():
            RealOS.close(self.fd)
        self.fd = -1

    def _flush(self) -> None:
        while self._outgoing:
            data, counts = self._outgoing[0]
            written = sum(counts)
            if written < len(data):
                _call_noting(counts, RealOS.write, self.fd, memoryview(data)[written:])
            else:
                self._outgoing.popleft()

    def _is_open(self) -> bool:
        # The test may have closed the descriptor, and its number may be another file's by now.
        try:
            return _identity(RealOS.fstat(self.fd)) == self._pipe
        except OSError:
            return False


class Reader:
    """The parent's end of a test's pipe: never blocks, trusts nothing that it reads.

    After the first breach of the protocol the rest of the stream is taken in and thrown away, so
    that the test is not stopped by a full pipe.
    """

    def __init__(self, fd: int) -> None:
        """Take over *fd*, a pipe's read end, and make it non-blocking."""
        os.set_blocking(fd, False)
        self.fd = fd
        self.eof = False  #: every writer, the test's descendants included, has closed its end
        self.state = State.FORKED  #: where the conversation stands
        self.garbage = ""  #: how the other side broke the protocol, or ""
        self._decoder = Decoder()

    @property
    def unfinished(self) -> int:
        """How many bytes of an incomplete frame have come: a death cut it off, if this stays."""
        return self._decoder.unfinished

    def drain(self) -> list[Frame]:
        """Return the frames that are complete by now.

        Takes in `DRAIN_LIMIT` bytes (less than a chunk more) and then returns even if there is
        more, so that a flood cannot keep its reader from watching the clock.
        """
        frames: list[Frame] = []
        room = DRAIN_LIMIT
        while room > 0 and not self.eof:
            try:
                data = RealOS.read(self.fd, _CHUNK)
            except BlockingIOError:
                break
            self.eof = not data
            room -= len(data)
            if not self.garbage:
                self._decode(data, frames)
        return frames

    def close(self) -> None:
        """Close the pipe; once is enough."""
        if self.fd >= 0:
            RealOS.close(self.fd)
        self.fd = -1

    def _decode(self, data: bytes, frames: list[Frame]) -> None:
        try:
            for frame in self._decoder.feed(data):
                self.state = advance(self.state, frame)
                frames.append(frame)
        except RemoteProtocolError as error:
            self.garbage = str(error)
            self._decoder = Decoder()  # lets go of what it had buffered


class Socket:
    """One end of the conversation of parent and keeper: frames both ways, descriptors attached.

    A `Ready` carries one descriptor for each of its names, no other frame carries any. `poll`
    and `receive` hand out frames in order, and the descriptors are then the caller's. Frames may
    be waiting in here while the descriptor is quiet, so call `poll` before waiting on `fileno`.
    For one thread.
    """

    def __init__(self, sock: socket.socket) -> None:
        """Take over *sock*, a connected stream socket of AF_UNIX."""
        self.eof = False  #: the other side has closed its end; frames may still be waiting here
        self._socket = sock
        self._pairing = Pairing()
        self._arrived: deque[tuple[Frame, list[int]]] = deque()
        self._outgoing: tuple[bytes, list[int]] = b"", []  # and what of it has been sent
        self._failure: Exception | None = None

    def fileno(self) -> int:
        """Return the descriptor, to wait on."""
        return self._socket.fileno()

    def send(self, frame: Frame, fds: Sequence[int] = (), *, timeout: float | None = None) -> None:
        """Send *frame* and copies of *fds*, waiting for room; *fds* stay the caller's.

        Takes in what arrives meanwhile, so that two sides that both send do not wait for ever.
        Raises `LocalProtocolError` (nothing was sent) and `PeerGone`. If a signal handler raises
        out of it, the frame has gone out, or is finished by the next `send`, or never begins; so if
        there is no room for *timeout* seconds, which raises `TimeoutError`.
        """
        deadline = None if timeout is None else RealOS.monotonic() + timeout
        if len(fds) != descriptors(frame) or len(fds) > MAX_DESCRIPTORS:
            raise LocalProtocolError(
                f"{type(frame).__name__} cannot be sent with {len(fds)} descriptors"
            )
        try:
            if self._outgoing[1]:
                self._transmit((), deadline)  # what a signal handler has cut in the middle
            self._outgoing = encode(frame), []
            self._transmit(fds, deadline)
        except (BrokenPipeError, ConnectionResetError):
            raise PeerGone("the other process has closed its end of the socket") from None

    def finish(self) -> None:
        """Let the other side know that nothing more comes, whoever has a copy of this end."""
        with suppress(OSError):  # it has left already
            self._socket.shutdown(socket.SHUT_WR)

    def receive(self, timeout: float | None = None) -> tuple[Frame, list[int]] | None:
        """Return the next frame and its descriptors, or None when the other side has left.

        Raises `TimeoutError` after *timeout* seconds, `PeerGone` if the other side died inside a
        frame and `RemoteProtocolError` if it broke the protocol.
        """
        deadline = None if timeout is None else RealOS.monotonic() + timeout
        while not self._arrived:
            if self._failure is not None:
                raise self._failure
            if self.eof:
                return None
            self._wait(select.POLLIN, deadline)
            self._pull()
        return self._arrived.popleft()

    def poll(self) -> list[tuple[Frame, list[int]]]:
        """Return all frames that are complete by now, without waiting; raises as `receive`."""
        while self._pull():
            pass
        if self._failure is not None and not self._arrived:
            raise self._failure
        arrived = list(self._arrived)
        self._arrived.clear()
        return arrived

    def close(self) -> None:
        """Close the socket and the descriptors that nobody has taken; once is enough."""
        for _, fds in self._arrived:
            for fd in fds:
                RealOS.close(fd)
        self._arrived.clear()
        self._pairing.close()
        self._socket.close()

    def _transmit(self, fds: Sequence[int], deadline: float | None) -> None:
        data, counts = self._outgoing
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
        while (sent := sum(counts)) < len(data):
            unsent = memoryview(data)[sent:]
            try:
                _call_noting(counts, self._socket.sendmsg, [unsent], control, _SEND_FLAGS)
                control = []  # they travel with the first byte
            except BlockingIOError:
                deaf = self.eof or self._failure is not None
                events = select.POLLOUT if deaf else select.POLLIN | select.POLLOUT
                self._wait(events, deadline)
                self._pull()

    def _wait(self, events: int, deadline: float | None = None) -> None:
        poll = select.poll()
        poll.register(self._socket, events)
        left = None if deadline is None else max(0.0, deadline - RealOS.monotonic()) * 1000
        if not poll.poll(left):
            raise TimeoutError("the other process did not answer in time")

    def _pull(self) -> bool:
        """Take in one chunk, if there is one; say whether there may be more."""
        if self.eof or self._failure is not None:
            return False
        try:
            data, control, flags, _ = self._socket.recvmsg(_CHUNK, _RIGHTS_SPACE, _RECEIVE_FLAGS)
        except BlockingIOError:
            return False
        except ConnectionResetError:  # it left without reading all that we had sent
            data, control, flags = b"", [], 0
        self.eof = not data
        try:
            self._take(data, unpack(control), lost=bool(flags & socket.MSG_CTRUNC))
        except (RemoteProtocolError, PeerGone) as error:
            self._failure = error
            self._pairing.close()
        return True

    def _take(self, data: bytes, fds: list[int], *, lost: bool) -> None:
        frames = self._pairing.feed(data, fds)
        if lost:
            raise RemoteProtocolError(
                "descriptors were lost: too many at once, or too many open in this process"
            )
        self._arrived.extend(frames)
        if self.eof and self._pairing.unfinished:
            raise PeerGone("the other process died while it was sending a frame")


def _call_noting(counts: list[int], call: Callable[..., int], *arguments: object) -> None:
    """Append to *counts* what *call* returns, before a signal handler can raise.

    Python runs handlers between bytecodes. A plain assignment loses the count if one raises just
    after a write that its signal has cut short; `extend` and `map` run no bytecode in between.
    """
    counts.extend(map(call, *((argument,) for argument in arguments)))


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
