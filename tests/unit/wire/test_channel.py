"""The channels: whole frames or none, whatever happens around them, and no descriptor lost."""

from __future__ import annotations

from contextlib import closing
import faulthandler
import fcntl
import os
from pathlib import Path
import platform
import resource
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING
from typing import NoReturn

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from pytest_isolate.wire.channel import DRAIN_LIMIT
from pytest_isolate.wire.channel import Reader
from pytest_isolate.wire.channel import Socket
from pytest_isolate.wire.channel import Writer
from pytest_isolate.wire.codec import encode
from pytest_isolate.wire.errors import LocalProtocolError
from pytest_isolate.wire.errors import PeerGone
from pytest_isolate.wire.errors import RemoteProtocolError
from pytest_isolate.wire.frames import MAX_DESCRIPTORS
from pytest_isolate.wire.frames import Bye
from pytest_isolate.wire.frames import Confined
from pytest_isolate.wire.frames import Frame
from pytest_isolate.wire.frames import Phase
from pytest_isolate.wire.frames import Ready
from pytest_isolate.wire.frames import Report
from pytest_isolate.wire.frames import Retire
from pytest_isolate.wire.frames import Unready
from pytest_isolate.wire.protocol import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

SMALL = Phase("test_x", "call")
LARGE = Report({"longrepr": "x" * 1_000_000})
PATIENCE = 20.0
# The numbers of write(2) and poll(2), or ppoll(2) in the generic table.
BLOCKING_CALLS = {"x86_64": ("1", "7")}.get(platform.machine(), ("64", "73"))


def open_descriptors() -> set[str]:
    """Return the descriptors of this process, less the one that lists them."""
    return {path.name for path in Path("/proc/self/fd").iterdir() if os.path.lexists(path)}


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    """Fail a test that leaves a descriptor open, or closes one too many."""
    before = open_descriptors()
    yield
    assert open_descriptors() == before


@pytest.fixture
def pipe() -> Iterator[tuple[Reader, Writer]]:
    """Return the two ends of a pipe."""
    read_fd, write_fd = os.pipe()
    with closing(Reader(read_fd)) as reader, closing(Writer(write_fd)) as writer:
        yield reader, writer


@pytest.fixture
def sockets() -> Iterator[tuple[Socket, Socket]]:
    """Return the two ends of a socket."""
    ours, theirs = socket.socketpair()
    with closing(Socket(ours)) as one, closing(Socket(theirs)) as other:
        yield one, other


@pytest.fixture
def raw() -> Iterator[tuple[Socket, socket.socket]]:
    """Return one end of a socket, and the bare other end."""
    ours, theirs = socket.socketpair()
    with closing(Socket(ours)) as one, theirs:
        yield one, theirs


@pytest.fixture
def background() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Return a function that runs another in a thread."""
    threads: list[threading.Thread] = []

    def start(work: Callable[[], None]) -> None:
        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()

    yield start
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def drain_until(reader: Reader, count: int, *, pause: float = 0.0) -> list[Frame]:
    """Read until *count* frames have come."""
    frames: list[Frame] = []
    deadline = time.monotonic() + PATIENCE
    while len(frames) < count and time.monotonic() < deadline:
        frames += reader.drain()
        time.sleep(pause)
    return frames


def collected(arrived: list[Frame], count: int) -> list[Frame]:
    """Wait until a thread has collected *count* frames."""
    deadline = time.monotonic() + PATIENCE
    while len(arrived) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return arrived


def signal_when_blocked(number: int = signal.SIGALRM) -> None:
    """Wait until the main thread sleeps in write(2) or poll(2), and signal it."""
    main = threading.main_thread()
    assert main.ident is not None
    doing = Path(f"/proc/self/task/{main.native_id}/syscall")
    deadline = time.monotonic() + PATIENCE
    while doing.read_text("ascii").split()[0] not in BLOCKING_CALLS and time.monotonic() < deadline:
        time.sleep(0.001)
    signal.pthread_kill(main.ident, number)


def send_until_alarm(send: Callable[[], None]) -> int:
    """Send until there is no more room and an alarm rings; return how often it was begun."""
    begun = 0

    def fill() -> NoReturn:
        nonlocal begun
        while True:
            begun += 1
            send()

    ringer = threading.Thread(target=signal_when_blocked)
    ringer.start()
    with pytest.raises(Alarm):
        fill()
    ringer.join()
    return begun


def in_a_fork(work: Callable[[], None]) -> int:
    """Run *work* in a forked child, and return its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


# --- the pipe ---


def test_frames_arrive_in_order_and_the_end_is_seen(pipe: tuple[Reader, Writer]) -> None:
    reader, writer = pipe
    story: list[Frame] = [Confined(), Phase("a", "setup"), Phase("a", "call"), Bye()]
    for frame in story:
        writer.send(frame)

    assert reader.drain() == story
    assert (reader.state, reader.eof, reader.garbage) == (State.DONE, False, "")
    writer.close()
    assert reader.drain() == []
    assert reader.eof


def test_drain_does_not_wait(pipe: tuple[Reader, Writer]) -> None:
    reader, _ = pipe

    assert reader.drain() == []
    assert not reader.eof


def test_a_frame_larger_than_the_pipe_gets_through_to_a_slow_reader(
    pipe: tuple[Reader, Writer], background: Callable[[Callable[[], None]], None]
) -> None:
    reader, writer = pipe

    def talk() -> None:
        for frame in (Confined(), LARGE, SMALL, LARGE, Bye()):
            writer.send(frame)

    background(talk)
    assert drain_until(reader, 5, pause=0.005) == [Confined(), LARGE, SMALL, LARGE, Bye()]
    assert reader.garbage == ""


def test_one_drain_takes_in_a_bounded_amount(tmp_path: Path) -> None:
    # A regular file holds what a pipe cannot: more than the limit at once.
    frames: list[Frame] = [Confined(), *[Report({"longrepr": "x" * 10_000})] * 300, Bye()]
    file = tmp_path / "stream"
    file.write_bytes(b"".join(map(encode, frames)))
    with closing(Reader(os.open(file, os.O_RDONLY))) as reader:
        first = reader.drain()
        rest = drain_until(reader, len(frames) - len(first))
        reader.drain()

    assert 0 < len(first) <= DRAIN_LIMIT // 10_000 + 1
    assert first + rest == frames
    assert reader.eof


def test_a_descendant_that_holds_the_pipe_keeps_the_end_open(pipe: tuple[Reader, Writer]) -> None:
    reader, writer = pipe
    held = os.dup(writer.fd)
    writer.send(Confined())
    writer.close()

    assert reader.drain() == [Confined()]
    assert not reader.eof
    os.close(held)
    assert reader.drain() == []
    assert reader.eof


@settings(deadline=None)  # the machine may be busy
@given(data=st.binary(max_size=300), sane=st.booleans())
def test_drain_never_raises_whatever_is_written(data: bytes, sane: bool) -> None:  # noqa: FBT001  # hypothesis passes by name
    read_fd, write_fd = os.pipe()
    os.write(write_fd, (encode(Confined()) if sane else b"") + data)
    os.close(write_fd)
    with closing(Reader(read_fd)) as reader:
        frames = reader.drain()

    assert reader.eof
    assert frames[:1] == [Confined()] or not sane
    assert "\n" not in reader.garbage


def test_garbage_is_remembered_and_the_rest_thrown_away(pipe: tuple[Reader, Writer]) -> None:
    reader, writer = pipe
    writer.send(Confined())
    os.write(writer.fd, b"printf from a C library\n")
    writer.send(SMALL)

    assert reader.drain() == [Confined()]
    assert "not a frame" in reader.garbage
    words = reader.garbage
    writer.send(SMALL)
    assert reader.drain() == []
    assert (reader.garbage, reader.unfinished, reader.eof) == (words, 0, False)


def test_a_test_that_writes_garbage_is_not_stopped_by_a_full_pipe(
    pipe: tuple[Reader, Writer], background: Callable[[Callable[[], None]], None]
) -> None:
    reader, writer = pipe

    def talk() -> None:
        os.write(writer.fd, b"garbage")
        writer.send(LARGE)
        writer.close()

    background(talk)
    deadline = time.monotonic() + PATIENCE
    while not reader.eof and time.monotonic() < deadline:
        assert reader.drain() == []
    assert reader.eof


@pytest.mark.parametrize(
    ("story", "words"),
    [
        ([SMALL], "Phase is not allowed in FORKED"),
        ([Confined(), Confined()], "Confined is not allowed in RUNNING"),
        ([Confined(), Bye(), SMALL], "Phase is not allowed in DONE"),
        ([Confined(), Ready(1, [], [])], "Ready is not allowed in RUNNING"),
    ],
)
def test_a_frame_out_of_order_is_garbage(
    pipe: tuple[Reader, Writer], story: list[Frame], words: str
) -> None:
    reader, writer = pipe
    for frame in story:
        writer.send(frame)
    os.write(writer.fd, encode(LARGE)[:1000])

    assert reader.drain() == story[:-1]
    assert reader.garbage == words
    assert reader.unfinished == 0  # what is thrown away is not kept either


def test_a_frame_cut_off_by_a_death_is_not_garbage(pipe: tuple[Reader, Writer]) -> None:
    reader, writer = pipe
    writer.send(Confined())
    os.write(writer.fd, encode(LARGE)[:1000])
    writer.close()

    assert reader.drain() == [Confined()]
    assert (reader.eof, reader.garbage, reader.unfinished) == (True, "", 1000)


def test_a_process_that_the_test_forks_sends_nothing(pipe: tuple[Reader, Writer]) -> None:
    reader, writer = pipe
    writer.send(Confined())

    def talk() -> None:
        writer.send(SMALL)
        writer.send(LARGE)

    status = in_a_fork(talk)

    assert status == 0
    writer.send(Bye())
    assert reader.drain() == [Confined(), Bye()]


def test_a_frame_that_cannot_be_encoded_leaves_the_pipe_as_it_was(
    pipe: tuple[Reader, Writer],
) -> None:
    reader, writer = pipe
    with pytest.raises(LocalProtocolError):
        writer.send(Report({"x": object()}))

    writer.send(Confined())
    assert reader.drain() == [Confined()]


@pytest.mark.parametrize("frame", [SMALL, LARGE])
def test_a_dead_reader_is_told(pipe: tuple[Reader, Writer], frame: Frame) -> None:
    reader, writer = pipe
    reader.close()

    with pytest.raises(PeerGone, match="the parent"):
        writer.send(frame)


def test_a_descriptor_that_the_test_closed_is_told(pipe: tuple[Reader, Writer]) -> None:
    _, writer = pipe
    os.close(writer.fd)

    with pytest.raises(PeerGone, match="closed"):
        writer.send(SMALL)


def test_no_frame_lands_in_a_file_that_took_over_the_descriptor(
    pipe: tuple[Reader, Writer], tmp_path: Path
) -> None:
    _, writer = pipe
    number = writer.fd
    file = tmp_path / "file"
    with file.open("wb") as stream:
        os.dup2(stream.fileno(), number)
    try:
        with pytest.raises(PeerGone):
            writer.send(SMALL)
        writer.close()
        os.fstat(number)  # it is the file's, and close has left it alone
    finally:
        os.close(number)
    assert file.read_bytes() == b""


class Alarm(Exception):  # noqa: N818  # stands for any exception that a handler may raise
    """Raised by the handler of a signal."""


@pytest.fixture
def alarm() -> Iterator[None]:
    """Make SIGALRM raise, as plugins for time limits do."""

    def ring(_number: int, _frame: object) -> NoReturn:
        raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("alarm")
@pytest.mark.parametrize("size", [3000, 1_000_000])
def test_a_handler_that_raises_while_a_frame_waits_tears_no_frame_and_loses_none(
    pipe: tuple[Reader, Writer], background: Callable[[Callable[[], None]], None], size: int
) -> None:
    reader, writer = pipe
    fcntl.fcntl(writer.fd, fcntl.F_SETPIPE_SZ, 4096)
    frame = Report({"longrepr": "x" * size})
    writer.send(Confined())
    writer.send(SMALL)

    begun = sum(send_until_alarm(lambda: writer.send(frame)) for _ in range(3))

    arrived: list[Frame] = []
    background(lambda: arrived.extend(drain_until(reader, begun + 3)))
    writer.send(Bye())
    assert collected(arrived, begun + 3) == [Confined(), SMALL, *[frame] * begun, Bye()]


def test_handlers_that_raise_all_the_time_tear_no_frame_and_lose_none(
    pipe: tuple[Reader, Writer], background: Callable[[Callable[[], None]], None]
) -> None:
    # Another thread is there to take the signal, so that it hits the writer at any point.
    reader, writer = pipe
    arrived: list[Frame] = []
    finished = threading.Event()

    def read() -> None:
        deadline = time.monotonic() + PATIENCE
        while reader.state is not State.DONE and time.monotonic() < deadline:
            arrived.extend(reader.drain())
        finished.set()

    background(read)
    writer.send(Confined())
    alarms = 0
    armed = False  # or the alarm could ring just after the frame, outside of the `try`

    def ring(_number: int, _frame: object) -> None:
        nonlocal armed
        if armed:
            armed = False
            raise Alarm

    before = signal.signal(signal.SIGALRM, ring)
    for number in range(200):
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, 0.0002 + number % 10 * 0.0001)
            writer.send(Report({"number": number, "longrepr": "x" * 100_000}))
            armed = False
        except Alarm:
            alarms += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    writer.send(Bye())

    assert finished.wait(PATIENCE)
    assert reader.garbage == ""
    numbers = [frame.data["number"] for frame in arrived if type(frame) is Report]
    assert numbers == sorted(set(numbers))
    assert alarms > 0
    assert len(numbers) >= 200 - alarms  # an alarm before the frame was encoded stops that one


@pytest.mark.parametrize("frame", [Report({"longrepr": "x" * 3000}), LARGE], ids=["small", "large"])
def test_a_handler_that_sends_while_a_frame_waits_is_heard_after_it(
    pipe: tuple[Reader, Writer], background: Callable[[Callable[[], None]], None], frame: Report
) -> None:
    reader, writer = pipe
    fcntl.fcntl(writer.fd, fcntl.F_SETPIPE_SZ, 4096)
    writer.send(Confined())
    writer.send(Report({"longrepr": "y" * 3000}))
    arrived: list[Frame] = []
    heard = threading.Event()

    def answer(_number: int, _frame: object) -> None:
        writer.send(SMALL)
        heard.set()

    def ring_then_read() -> None:
        signal_when_blocked()
        assert heard.wait(PATIENCE)
        arrived.extend(drain_until(reader, 5))

    before = signal.signal(signal.SIGALRM, answer)
    background(ring_then_read)
    writer.send(frame)
    signal.signal(signal.SIGALRM, before)
    writer.send(Bye())

    assert collected(arrived, 5)[2:] == [frame, SMALL, Bye()]


def test_a_stack_dump_comes_even_while_a_large_frame_waits(
    pipe: tuple[Reader, Writer],
    background: Callable[[Callable[[], None]], None],
    tmp_path: Path,
) -> None:
    reader, writer = pipe
    number = signal.SIGRTMIN + 3
    arrived: list[Frame] = []
    stacks = tmp_path / "stacks"
    writer.send(Confined())

    def ask_then_read() -> None:
        signal_when_blocked(number)
        deadline = time.monotonic() + PATIENCE
        while "in send" not in stacks.read_text("utf-8") and time.monotonic() < deadline:
            time.sleep(0.001)
        arrived.extend(drain_until(reader, 2))

    with stacks.open("w", encoding="utf-8") as stream:
        # Of this thread alone: to walk the others' frames while they run may crash (gh-140815).
        faulthandler.register(number, file=stream, all_threads=False)
        background(ask_then_read)
        writer.send(LARGE)
        faulthandler.unregister(number)

    assert collected(arrived, 2) == [Confined(), LARGE]
    assert "in send" in stacks.read_text("utf-8")


# --- the socket ---


def test_frames_travel_both_ways(sockets: tuple[Socket, Socket]) -> None:
    one, other = sockets
    one.send(Retire(1))
    one.send(Retire(2))
    other.send(Unready(1, {"why": "x"}))

    assert other.receive() == (Retire(1), [])
    assert other.receive(timeout=1) == (Retire(2), [])
    assert one.poll() == [(Unready(1, {"why": "x"}), [])]


def test_poll_does_not_wait(sockets: tuple[Socket, Socket]) -> None:
    one, _ = sockets

    assert one.poll() == []
    assert not one.eof


def test_receive_gives_up_in_time(sockets: tuple[Socket, Socket]) -> None:
    one, other = sockets
    begin = time.monotonic()

    with pytest.raises(TimeoutError, match="in time"):
        one.receive(timeout=0.1)

    assert 0.1 <= time.monotonic() - begin < 5
    other.send(SMALL)
    assert one.receive(timeout=0) == (SMALL, [])


def test_a_frame_that_stops_half_way_does_not_hold_receive_for_ever(
    raw: tuple[Socket, socket.socket],
) -> None:
    one, other = raw
    other.send(encode(SMALL)[:10])

    with pytest.raises(TimeoutError):
        one.receive(timeout=0.1)

    other.send(encode(SMALL)[10:])
    assert one.receive(timeout=1) == (SMALL, [])


def inodes(fds: list[int]) -> list[int]:
    """Return which files *fds* are, and close them."""
    found = [os.fstat(fd).st_ino for fd in fds]
    for fd in fds:
        os.close(fd)
    return found


def test_descriptors_come_with_their_frame(
    sockets: tuple[Socket, Socket],
    background: Callable[[Callable[[], None]], None],
    tmp_path: Path,
) -> None:
    one, other = sockets
    outgoing: list[tuple[Frame, list[int]]] = []
    for number in range(60):
        # Frames of all sizes, with and without descriptors, so that reads end everywhere.
        names = [f"{tmp_path}/{number}/{index}" for index in range(number % 4)]
        fds = [os.open(tmp_path, os.O_RDWR | os.O_TMPFILE) for _ in names]
        outgoing += [
            (Ready(number, names, [{"why": "x" * 997 * (number % 7) * (number % 11)}]), fds),
            (Unready(number, {"why": "y" * 731 * (number % 5)}), []),
        ]
    sent = [(frame, [os.fstat(fd).st_ino for fd in fds]) for frame, fds in outgoing]

    def talk() -> None:
        for frame, fds in outgoing:
            one.send(frame, fds)
            for fd in fds:
                os.close(fd)

    background(talk)
    received: list[tuple[Frame, list[int]]] = []
    while len(received) < len(sent):
        got = other.receive(timeout=PATIENCE)
        assert got is not None
        received.append((got[0], inodes(got[1])))

    assert received == sent


def test_a_descriptor_at_the_wrong_frame_is_not_sent(sockets: tuple[Socket, Socket]) -> None:
    one, other = sockets
    with pytest.raises(LocalProtocolError, match="Bye cannot be sent with 1 descriptors"):
        one.send(Bye(), [0])
    with pytest.raises(LocalProtocolError, match="Ready cannot be sent with 1 descriptors"):
        one.send(Ready(1, ["a", "b"], []), [0])
    with pytest.raises(LocalProtocolError, match="Ready cannot be sent with 65 descriptors"):
        one.send(Ready(1, ["a"] * (MAX_DESCRIPTORS + 1), []), [0] * (MAX_DESCRIPTORS + 1))

    assert other.poll() == []


def test_as_many_descriptors_as_a_frame_may_have_arrive(sockets: tuple[Socket, Socket]) -> None:
    one, other = sockets
    one.send(Ready(1, ["a"] * MAX_DESCRIPTORS, []), [0] * MAX_DESCRIPTORS)

    got = other.receive()

    assert got is not None
    assert len(inodes(got[1])) == MAX_DESCRIPTORS


def test_received_descriptors_are_closed_on_exec(sockets: tuple[Socket, Socket]) -> None:
    one, other = sockets
    one.send(Ready(1, ["a"], []), [0])

    got = other.receive()

    assert got is not None
    assert not os.get_inheritable(got[1][0])
    inodes(got[1])


def test_a_large_frame_has_its_descriptors_once(
    sockets: tuple[Socket, Socket], background: Callable[[Callable[[], None]], None]
) -> None:
    one, other = sockets
    frame = Ready(1, ["a", "b"], [{"why": "x" * 1_000_000}])

    def talk() -> None:
        one.send(frame, [0, 0])
        one.send(Bye())

    background(talk)
    got = other.receive(timeout=PATIENCE)

    assert got is not None
    assert (got[0], len(inodes(got[1]))) == (frame, 2)
    assert other.receive(timeout=PATIENCE) == (Bye(), [])
    assert other.poll() == []  # or descriptors that came too often are a breach


def test_descriptors_that_nobody_took_are_closed_with_the_socket(
    sockets: tuple[Socket, Socket],
) -> None:
    one, other = sockets
    before = open_descriptors()
    one.send(Retire(1))
    one.send(Ready(1, ["a", "b"], []), [0, 0])

    assert other.receive() == (Retire(1), [])
    assert len(open_descriptors() - before) == 2  # they have come with it, for the next frame
    other.close()
    assert open_descriptors() < before


def test_descriptors_whose_frame_never_came_are_closed_with_the_socket(
    raw: tuple[Socket, socket.socket],
) -> None:
    one, other = raw
    before = open_descriptors()
    socket.send_fds(other, [encode(Ready(1, ["a"], []))[:-1]], [0])

    assert one.poll() == []
    assert len(open_descriptors() - before) == 1
    one.close()
    assert open_descriptors() < before


@pytest.mark.parametrize(
    ("frame", "count", "words"),
    [
        (Ready(1, ["a", "b"], []), 0, "a frame came with 0 of its 2 descriptors"),
        (Ready(1, ["a", "b"], []), 1, "a frame came with 1 of its 2 descriptors"),
        (Ready(1, ["a"], []), 2, "1 descriptors came with no frame that owns them"),
        (Retire(1), 1, "1 descriptors came with no frame that owns them"),
        (Ready(1, ["a"] * 100, []), 100, "descriptors were lost"),
    ],
)
def test_a_wrong_number_of_descriptors_is_a_breach_and_closes_them(
    raw: tuple[Socket, socket.socket], frame: Frame, count: int, words: str
) -> None:
    one, other = raw
    before = open_descriptors()
    socket.send_fds(other, [encode(frame)], [0] * count)

    while True:
        try:
            got = one.receive(timeout=1)
        except RemoteProtocolError as error:
            assert words in str(error)  # noqa: PT017  # a good frame may come before
            break
        assert got is not None
        inodes(got[1])

    assert open_descriptors() == before
    with pytest.raises(RemoteProtocolError):
        one.poll()


def test_descriptors_for_which_this_process_has_no_room_are_told(
    sockets: tuple[Socket, Socket],
) -> None:
    one, other = sockets
    one.send(Ready(1, ["a", "b"], []), [0, 0])
    next_fd = os.dup(0)
    os.close(next_fd)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_fd + 1, limits[1]))
    try:
        with pytest.raises(RemoteProtocolError, match="too many open in this process"):
            other.receive(timeout=1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_two_sides_that_both_send_much_do_not_wait_for_ever(
    sockets: tuple[Socket, Socket], background: Callable[[Callable[[], None]], None]
) -> None:
    one, other = sockets
    story: list[Frame] = [LARGE, SMALL, LARGE]
    heard: dict[Socket, list[tuple[Frame, list[int]] | None]] = {}

    def talk(end: Socket) -> None:
        for frame in story:
            end.send(frame)
        heard[end] = [end.receive(timeout=PATIENCE) for _ in story]

    background(lambda: talk(other))
    talk(one)
    deadline = time.monotonic() + PATIENCE
    while other not in heard and time.monotonic() < deadline:
        time.sleep(0.01)

    assert [heard[end] for end in sockets] == [[(frame, []) for frame in story]] * 2


def test_frames_sent_before_the_end_are_received_before_it(
    sockets: tuple[Socket, Socket],
) -> None:
    one, other = sockets
    one.send(SMALL)
    one.send(Bye())
    one.close()

    assert [other.receive(), other.receive(), other.receive()] == [(SMALL, []), (Bye(), []), None]


def test_poll_sees_the_end(sockets: tuple[Socket, Socket]) -> None:
    one, other = sockets
    one.send(SMALL)
    one.close()

    assert other.poll() == [(SMALL, [])]
    assert other.eof
    assert other.poll() == []


def test_a_peer_that_left_without_reading_is_an_end_like_any_other(
    sockets: tuple[Socket, Socket],
) -> None:
    one, other = sockets
    one.send(Retire(1))  # never read: the kernel makes a reset of it
    other.send(SMALL)
    other.close()

    assert one.receive(timeout=1) == (SMALL, [])
    assert one.receive(timeout=1) is None


def test_sending_to_a_peer_that_is_gone_is_told(sockets: tuple[Socket, Socket]) -> None:
    one, other = sockets
    one.send(Retire(1))
    other.close()

    for _ in range(2):
        with pytest.raises(PeerGone, match="the other process"):
            one.send(Retire(2))


def test_a_peer_that_dies_inside_a_frame_is_told_after_its_good_frames(
    raw: tuple[Socket, socket.socket],
) -> None:
    one, other = raw
    before = open_descriptors()
    other.send(encode(SMALL))
    socket.send_fds(other, [encode(Ready(1, ["a"], []))[:-1]], [0])
    other.close()

    assert one.receive() == (SMALL, [])
    with pytest.raises(PeerGone, match="died while it was sending"):
        one.receive()
    with pytest.raises(PeerGone, match="died while it was sending"):
        one.poll()
    assert open_descriptors() < before


def test_a_peer_that_is_killed_while_we_send_is_told(raw: tuple[Socket, socket.socket]) -> None:
    one, other = raw
    pid = os.fork()
    if pid == 0:
        try:
            other.recv(1000)  # the frame has begun: there is much more of it
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    other.close()

    with pytest.raises(PeerGone):
        one.send(LARGE)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_sending_waits_without_spinning_for_a_peer_that_broke_the_protocol(
    raw: tuple[Socket, socket.socket], background: Callable[[Callable[[], None]], None]
) -> None:
    one, other = raw
    other.sendall(b"garbage" * 17_000)  # more than is read at once: some stays unread

    def read_late() -> None:
        time.sleep(0.3)
        left = len(encode(LARGE))
        while left > 0:
            left -= len(other.recv(100_000))

    background(read_late)
    cpu = time.thread_time()
    one.send(LARGE)

    assert time.thread_time() - cpu < 0.15
    with pytest.raises(RemoteProtocolError):
        one.receive()


def test_good_frames_before_a_breach_are_received_first(
    raw: tuple[Socket, socket.socket],
) -> None:
    one, other = raw
    other.send(encode(SMALL) + encode(Bye()) + b"garbage")

    assert one.receive() == (SMALL, [])
    assert one.poll() == [(Bye(), [])]
    with pytest.raises(RemoteProtocolError, match="not a frame"):
        one.receive()


@pytest.mark.usefixtures("alarm")
def test_a_large_frame_that_a_handler_cut_is_finished_ahead_of_the_next(
    sockets: tuple[Socket, Socket], background: Callable[[Callable[[], None]], None]
) -> None:
    one, other = sockets
    begun = send_until_alarm(lambda: one.send(Ready(1, ["a"], [{"why": "x" * 1_000_000}]), [0]))

    assert begun == 1
    background(lambda: one.send(Bye()))
    got = other.receive(timeout=PATIENCE)

    assert got is not None
    assert got[0] == Ready(1, ["a"], [{"why": "x" * 1_000_000}])
    assert len(inodes(got[1])) == 1
    assert other.receive(timeout=PATIENCE) == (Bye(), [])


@pytest.mark.usefixtures("alarm")
def test_a_frame_of_which_nothing_went_out_is_forgotten(sockets: tuple[Socket, Socket]) -> None:
    one, other = sockets
    filling = Unready(1, {"why": "x" * 10_000})

    begun = send_until_alarm(lambda: one.send(filling))

    assert other.poll() == [(filling, [])] * (begun - 1)
    one.send(Bye())
    assert other.poll() == [(Bye(), [])]
