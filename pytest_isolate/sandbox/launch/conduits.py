"""What a process talks to itself by: pipes, socket pairs, event counters, and sets of epoll(7).

`multiprocessing.Queue` and an event loop that are made at import have such. A fork would share them
with its parent and with all other forks: what one test has put in, the next would take out. So
inside each is made anew, with what was in it. What leads to another process is none of these.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
import enum
import fcntl
import os
import re
import socket
import stat
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox.linux import files
from pytest_isolate.sandbox.linux import procfs
from pytest_isolate.sandbox.linux import unixdiag

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Iterator

_EVENT: Final = "anon_inode:[eventfd]"
_POLL: Final = "anon_inode:[eventpoll]"
#: Of fdinfo, see proc_pid_fdinfo(5).
_COUNT: Final = re.compile(r"^eventfd-count: *([0-9a-f]+)$", re.MULTILINE)
_SEMAPHORE: Final = re.compile(r"^eventfd-semaphore: 1$", re.MULTILINE)
_WATCHED: Final = re.compile(
    r"^tfd: *(\d+) events: *([0-9a-f]+) data: *([0-9a-f]+) .*\bino:([0-9a-f]+)", re.MULTILINE
)
_ENDS: Final = 2  #: of a pair
_PEEKED: Final = 1 << 20  #: bytes that are in a socket: by default it takes no more
_PIPED: Final = 1 << 20  #: the most that a pipe takes, see pipe(7)


class Way(enum.Enum):
    """What a pair is."""

    PIPE = 0
    STREAM = socket.SOCK_STREAM
    DATAGRAM = socket.SOCK_DGRAM
    PACKETS = socket.SOCK_SEQPACKET


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Both ends of a pipe, the reading one first, or of a socket pair: the descriptors of each."""

    way: Way
    ends: tuple[tuple[int, ...], tuple[int, ...]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """An eventfd(2)."""

    fd: int
    count: int
    is_semaphore: bool


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What an epoll(7) waits for: a descriptor, events, and 64 bits of its user's."""

    fd: int
    events: int
    data: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Conduits:
    """All of a process."""

    pairs: list[Pair] = field(default_factory=list)
    counters: list[Counter] = field(default_factory=list)
    polls: dict[int, list[Watch]] = field(default_factory=dict)

    def add_nameless(self, fd: int, link: str) -> None:
        """Add *fd*, which leads to *link*, if it is a counter or a set."""
        if link == _EVENT:
            text = _info(fd)
            if found := _COUNT.search(text):
                is_semaphore = bool(_SEMAPHORE.search(text))
                counter = Counter(fd=fd, count=int(found[1], 16), is_semaphore=is_semaphore)
                self.counters.append(counter)
        elif link == _POLL:
            self.polls[fd] = [
                Watch(fd=int(target), events=int(events, 16), data=int(data, 16))
                for target, events, data, inode in _WATCHED.findall(_info(fd))
                if _leads_to(int(target), int(inode, 16))
            ]

    def add_pairs(self, pipes: dict[int, list[int]], sockets: dict[int, list[int]]) -> None:
        """Add those whose ends are all among *pipes* and *sockets*: descriptors by inode."""
        pairs = [*_pipes(pipes), *_sockets(sockets)]
        if pairs:
            elsewhere = _held_by_children()
            self.pairs.extend(pair for inodes, pair in pairs if elsewhere.isdisjoint(inodes))

    @property
    def fds(self) -> set[int]:
        """The descriptors of pairs."""
        return {fd for pair in self.pairs for end in pair.ends for fd in end}

    def renew(self) -> None:
        """Let each descriptor be of a thing of the same kind that no other process has."""
        for pair in self.pairs:
            with suppress(OSError):
                _renew_pair(pair)
        for counter in self.counters:
            with suppress(OSError):
                _renew_counter(counter)
        # Last: what they wait for is new by now, but for other sets.
        for fd in self.polls:
            _put(files.epoll_create(), fd)
        for fd, watches in self.polls.items():
            for watch in watches:
                with suppress(OSError):  # it was closed meanwhile
                    files.epoll_add(fd, watch.fd, watch.events, watch.data)


def _info(fd: int) -> str:
    with open(f"/proc/self/fdinfo/{fd}", encoding="utf-8") as file:
        return file.read()


def _leads_to(fd: int, inode: int) -> bool:
    try:
        return os.fstat(fd).st_ino == inode
    except OSError:
        return False


def _pipes(found: dict[int, list[int]]) -> Iterator[tuple[set[int], Pair]]:
    for inode, fds in found.items():
        if len(fds) < _ENDS:
            continue
        modes = {fd: fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE for fd in fds}
        reading = tuple(fd for fd in fds if modes[fd] == os.O_RDONLY)
        writing = tuple(fd for fd in fds if modes[fd] == os.O_WRONLY)
        # One with a name has others who open it.
        if reading and writing and os.readlink(f"/proc/self/fd/{fds[0]}").startswith("pipe:"):
            yield {inode}, Pair(way=Way.PIPE, ends=(reading, writing))


def _sockets(found: dict[int, list[int]]) -> Iterator[tuple[set[int], Pair]]:
    if len(found) < _ENDS:
        return
    left = set(found)
    for inode, peer in unixdiag.peers(found):
        if inode in left and peer in left and inode != peer:
            left -= {inode, peer}
            with _borrowed(found[inode][0]) as one:
                way = Way(one.type)
            yield {inode, peer}, Pair(way=way, ends=(tuple(found[inode]), tuple(found[peer])))


def _held_by_children() -> set[int]:
    """Return the inodes of what children of this process have open as well."""
    return {inode for child in procfs.children_of("self") for inode in _inodes_of(child)}


def _inodes_of(pid: int) -> Iterable[int]:
    with suppress(OSError):  # it has ended, or is another user's
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                status = os.stat(f"/proc/{pid}/fd/{fd}")
                if stat.S_ISFIFO(status.st_mode) or stat.S_ISSOCK(status.st_mode):
                    yield status.st_ino


@contextmanager
def _borrowed(fd: int) -> Iterator[socket.socket]:
    one = socket.socket(fileno=fd)
    try:
        yield one
    finally:
        one.detach()


def _renew_pair(pair: Pair) -> None:
    if pair.way is Way.PIPE:
        new = os.pipe2(os.O_CLOEXEC)
        # What is in it stays in the old one too.
        with suppress(BlockingIOError):
            files.tee(pair.ends[0][0], new[1], _PIPED)
    else:
        ends = socket.socketpair(socket.AF_UNIX, pair.way.value)
        new = ends[0].detach(), ends[1].detach()
        if pair.way is Way.STREAM:
            _copy_stream(pair.ends[0][0], new[1])
            _copy_stream(pair.ends[1][0], new[0])
    for source, fds in zip(new, pair.ends, strict=True):
        _put(source, *fds)


def _copy_stream(old: int, new: int) -> None:
    """Let what can be read from *old* have come from *new*."""
    with _borrowed(old) as source, _borrowed(new) as target, suppress(BlockingIOError):
        target.send(
            source.recv(_PEEKED, socket.MSG_PEEK | socket.MSG_DONTWAIT), socket.MSG_DONTWAIT
        )


def _renew_counter(counter: Counter) -> None:
    flags = os.EFD_CLOEXEC | (os.EFD_SEMAPHORE if counter.is_semaphore else 0)
    new = os.eventfd(0, flags)
    if counter.count:
        os.eventfd_write(new, counter.count)
    _put(new, counter.fd)


def _put(source: int, *fds: int) -> None:
    """Move *source* to the places of *fds*, with their flags."""
    fcntl.fcntl(source, fcntl.F_SETFL, fcntl.fcntl(fds[0], fcntl.F_GETFL))
    for fd in fds:
        os.dup2(source, fd, inheritable=os.get_inheritable(fd))
    os.close(source)
