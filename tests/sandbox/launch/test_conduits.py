"""What a process talks to itself by is each fork's own, with what was in it."""

from __future__ import annotations

from contextlib import ExitStack
from contextlib import closing
import fcntl
import mmap
import multiprocessing
import os
import select
import socket
import subprocess
import sys
from typing import TYPE_CHECKING
from typing import Any

import pytest

from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.supervise import execution
from pytest_isolate.wire.frames import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from pytest_isolate.sandbox.pool import Pool
    from pytest_isolate.wire.channel import Writer
    from pytest_isolate.wire.frames import Frame

pytestmark = pytest.mark.needs("sandbox")


@pytest.fixture
def asked(pool: Pool) -> Callable[[Callable[[], object]], list[Any]]:
    """Return what has a question answered in two sandboxes, one after the other."""

    def answer(question: Callable[[], object]) -> Any:
        answers: list[Any] = []

        def hear(frame: Frame) -> None:
            if isinstance(frame, Event):
                answers.append(frame.data["answer"])

        def main(writer: Writer) -> None:
            writer.send(Event("answer", {"answer": question()}))

        sandbox = pool.acquire(Spec())
        try:
            entry = Entry(cwd="/", reopens=True)
            end = execution.run(sandbox, entry, main, on_frame=hear, timeout=60)
        finally:
            sandbox.retire()
        assert end.outcome == Exited(0)
        return answers[0]

    return lambda question: [answer(question), answer(question)]


@pytest.fixture
def fds() -> Iterator[Callable[[int], int]]:
    """Return what has a descriptor closed in the end."""
    with ExitStack() as stack:

        def closed(fd: int) -> int:
            stack.callback(os.close, fd)
            return fd

        yield closed


def test_a_pipe_has_what_was_in_it_and_takes_nothing_to_others(
    asked: Callable[..., Any], fds: Callable[[int], int]
) -> None:
    read, write = map(fds, os.pipe())
    again = fds(os.dup(read))
    os.set_blocking(write, False)
    os.write(write, b"before ")

    def question() -> object:
        os.write(write, b"test")
        said = os.read(read, 3), os.read(again, 100)
        os.write(write, b"left")
        modes = [os.get_blocking(fd) for fd in (read, write, again)]
        return [b"".join(said).decode(), modes]

    assert asked(question) == [["before test", [True, False, True]]] * 2
    os.set_blocking(read, False)
    assert os.read(read, 100) == b"before "


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_a_socket_pair_is_each_forks_own(asked: Callable[..., Any], kind: int) -> None:
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    with one, other, socket.socket(socket.AF_UNIX) as alone:
        alone.settimeout(0)
        one.settimeout(30)
        if kind == socket.SOCK_STREAM:
            other.send(b"before ")

        def question() -> object:
            other.send(b"test")
            said = one.recv(100)
            other.send(b"left")
            one.send(b"left")
            return said.decode()

        before = "before " if kind == socket.SOCK_STREAM else ""
        assert asked(question) == [f"{before}test"] * 2
        one.settimeout(0)
        if before:
            assert one.recv(100) == b"before "
        with pytest.raises(BlockingIOError):
            one.recv(100)


def test_sets_of_epoll_and_counters_are_each_forks_own(
    asked: Callable[..., Any], fds: Callable[[int], int]
) -> None:
    read, write = map(fds, os.pipe())
    counter = fds(os.eventfd(3, os.EFD_NONBLOCK))
    with closing(select.epoll()) as poll:
        poll.register(read, select.EPOLLIN)
        poll.register(counter, select.EPOLLOUT | select.EPOLLET)

        def question() -> object:
            before = poll.poll(0)
            os.write(write, b"x")
            poll.unregister(counter)
            after = poll.poll(30)
            os.eventfd_write(counter, 4)
            return [before, after, os.eventfd_read(counter)]

        expected = [[[counter, select.EPOLLOUT]], [[read, select.EPOLLIN]], 7]
        assert asked(question) == [expected] * 2
        assert poll.poll(0) == [(counter, select.EPOLLOUT)]
        assert os.eventfd_read(counter) == 3


def test_what_a_child_of_the_parent_has_too_leads_out(
    asked: Callable[..., Any], fds: Callable[[int], int]
) -> None:
    read, write = map(fds, os.pipe())
    wait = [sys.executable, "-c", "input()"]
    with subprocess.Popen(wait, stdin=subprocess.PIPE, pass_fds=[read, write]) as child:

        def question() -> object:
            os.write(write, b"x")
            return os.read(read, 1).decode()

        assert asked(question) == ["", ""]
        child.communicate(b"\n", timeout=60)


def test_a_pipe_with_one_end_here_and_one_with_a_name_lead_out(
    asked: Callable[..., Any], fds: Callable[[int], int], tmp_path: os.PathLike[str]
) -> None:
    read, write = os.pipe()
    fds(write)
    os.close(read)
    named = os.path.join(tmp_path, "fifo")
    os.mkfifo(named)
    both = fds(os.open(named, os.O_RDONLY | os.O_NONBLOCK)), fds(os.open(named, os.O_WRONLY))

    def question() -> object:
        return [os.readlink(f"/proc/self/fd/{fd}") for fd in (write, *both)]

    assert asked(question) == [["/dev/null"] * 3] * 2


def test_locks_and_nameless_memory_are_each_forks_own(asked: Callable[..., Any]) -> None:
    context = multiprocessing.get_context("fork")
    lock, event, memory = context.Lock(), context.Event(), mmap.mmap(-1, 1 << 24)
    with closing(memory):
        memory[5 << 20 : (5 << 20) + 4] = b"four"

        def child() -> None:
            memory[1 << 20] = 7
            event.set()

        def question() -> object:
            taken = lock.acquire(timeout=0)
            before = event.is_set(), memory[5 << 20 : (5 << 20) + 4].decode(), memory[1 << 20]
            process = context.Process(target=child)
            process.start()
            came = event.wait(30)
            process.join()
            return [taken, before, came, memory[1 << 20]]

        assert asked(question) == [[True, [False, "four", 0], True, 7]] * 2
        assert lock.acquire(timeout=0)
        assert not event.is_set()
        assert memory[1 << 20] == 0


def test_flags_of_a_descriptor_stay(asked: Callable[..., Any], fds: Callable[[int], int]) -> None:
    read, write = map(fds, os.pipe())
    os.set_inheritable(read, True)  # noqa: FBT003  # its only argument

    def question() -> object:
        return [fcntl.fcntl(fd, fcntl.F_GETFD) for fd in (read, write)]

    assert asked(question) == [[0, fcntl.FD_CLOEXEC]] * 2
