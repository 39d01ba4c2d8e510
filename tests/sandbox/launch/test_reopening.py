"""Files that are open before the fork: opened again inside, copied, or covered."""

from __future__ import annotations

from contextlib import suppress
import fcntl
import mmap
import os
from pathlib import Path
import shutil
import tempfile
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

import pytest

from pytest_isolate.sandbox.launch.descriptors import Kind
from pytest_isolate.sandbox.launch.descriptors import are_one
from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.spec import MinimalRoot
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

PARTIAL: Final = Spec(partial=True, landlock=True)
MIB: Final = 1 << 20


@pytest.fixture
def home() -> Iterator[Path]:
    """Return a directory that is not fresh in a sandbox."""
    home = Path(tempfile.mkdtemp(dir=Path.home(), prefix="isolate-reopening-"))
    yield home
    shutil.rmtree(home)


@pytest.fixture
def opened() -> Iterator[Callable[..., int]]:
    """Return a function that opens a file until the test is over."""
    fds: list[int] = []

    def opened(path: Path | str, flags: int, mode: int = 0o600) -> int:
        fds.append(os.open(path, flags, mode))
        return fds[-1]

    yield opened
    for fd in fds:
        with suppress(OSError):
            os.close(fd)


@pytest.fixture
def ask(pool: Pool) -> Callable[..., Any]:
    """Return a function that calls *question* in a sandbox and returns its answer."""

    def ask(question: Callable[[], object], spec: Spec | None = None) -> Any:
        return told(pool, lambda _: question(), spec)

    return ask


def told(pool: Pool, question: Callable[[Entry], object], spec: Spec | None = None) -> Any:
    """Return what *question* answers in a sandbox to the entry that it came in by."""
    answers: list[Any] = []
    entry = Entry(cwd="/", reopens=True)

    def hear(frame: Frame) -> None:
        if isinstance(frame, Event):
            answers.append(frame.data["answer"])

    def main(writer: Writer) -> None:
        writer.send(Event("answer", {"answer": question(entry)}))

    sandbox = pool.acquire(spec or Spec())
    try:
        end = execution.run(sandbox, entry, main, on_frame=hear)
    finally:
        sandbox.retire()
    assert end.outcome == Exited(0)
    assert end.said_bye
    return answers[0]


# --- at their path ---


@pytest.mark.parametrize(
    "flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR | os.O_APPEND, os.O_RDONLY | os.O_PATH]
)
def test_a_file_has_its_path_flags_and_inode(
    ask: Callable[..., Any], opened: Callable[..., int], home: Path, flags: int
) -> None:
    (home / "file").write_text("content", encoding="utf-8")
    fd = opened(home / "file", flags)
    os.set_inheritable(fd, True)  # noqa: FBT003  # its own way

    def look() -> list[object]:
        link = os.readlink(f"/proc/self/fd/{fd}")
        number = os.fstat(fd).st_ino == os.stat(link).st_ino
        return [link, number, fcntl.fcntl(fd, fcntl.F_GETFL), os.get_inheritable(fd)]

    assert ask(look) == [str(home / "file"), True, fcntl.fcntl(fd, fcntl.F_GETFL), True]


def test_an_inode_has_its_number_inside_even_when_it_was_written_to(
    ask: Callable[..., Any], opened: Callable[..., int], home: Path
) -> None:
    (home / "file").write_text("content", encoding="utf-8")
    fd = opened(home / "file", os.O_RDWR)

    def look() -> list[int]:
        os.write(fd, b"x")
        return [os.fstat(fd).st_ino, os.stat(home / "file").st_ino]

    assert ask(look) == [os.fstat(fd).st_ino] * 2


def test_what_is_written_is_seen_at_the_path_and_stays_inside(
    ask: Callable[..., Any], opened: Callable[..., int], home: Path
) -> None:
    file = home / "file"
    file.write_text("content", encoding="utf-8")
    fd = opened(file, os.O_RDWR)
    os.lseek(fd, 3, os.SEEK_SET)

    def write() -> str:
        os.write(fd, b"XY")
        return file.read_text(encoding="utf-8")

    assert [ask(write), ask(write)] == ["conXYnt", "conXYnt"]
    assert file.read_text(encoding="utf-8") == "content"
    assert os.lseek(fd, 0, os.SEEK_CUR) == 3


def test_what_one_reads_the_next_can_read(
    ask: Callable[..., Any], opened: Callable[..., int], home: Path
) -> None:
    (home / "file").write_text("content", encoding="utf-8")
    fd = opened(home / "file", os.O_RDONLY)
    os.read(fd, 3)

    assert [ask(lambda: os.read(fd, 9).decode()) for _ in range(2)] == ["tent", "tent"]


def test_a_file_of_a_writable_path_is_written_through(
    ask: Callable[..., Any], opened: Callable[..., int], home: Path
) -> None:
    fd = opened(home / "file", os.O_WRONLY | os.O_CREAT)

    ask(lambda: os.write(fd, b"out"), Spec(writable=(str(home),)))

    assert (home / "file").read_text(encoding="utf-8") == "out"


def test_dups_go_on_sharing_their_offset_and_others_do_not(
    ask: Callable[..., Any], opened: Callable[..., int], home: Path
) -> None:
    (home / "file").write_text("content", encoding="utf-8")
    one, other = (opened(home / "file", os.O_RDONLY) for _ in range(2))
    dup = os.dup(one)

    def read() -> list[str]:
        return [os.read(fd, 2).decode() for fd in (one, dup, other)]

    try:
        assert (are_one(one, dup), are_one(one, other)) == (True, False)
        assert ask(read) == ["co", "nt", "co"]
    finally:
        os.close(dup)


# --- where there is no path to them ---


def test_a_nameless_file_is_copied(ask: Callable[..., Any], home: Path) -> None:
    memory = os.memfd_create("memory")
    deleted = os.open(home / "gone", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    os.unlink(home / "gone")
    nameless = os.open(home, os.O_RDWR | os.O_TMPFILE, 0o600)
    fds = (memory, deleted, nameless)
    for fd in fds:
        os.write(fd, b"before")
        os.lseek(fd, 2, os.SEEK_SET)

    def use() -> list[object]:
        read = [os.read(fd, 9).decode() for fd in fds]
        written = [os.write(fd, b"after") for fd in fds]
        flags = [bool(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND) for fd in fds]
        return [read, written, [os.pread(fd, 99, 0).decode() for fd in fds], flags]

    expected = [["fore"] * 3, [5] * 3, ["beforeafter"] * 3, [False, True, False]]
    try:
        assert [ask(use), ask(use)] == [expected, expected]
        assert ask(use, PARTIAL) == expected
        assert [os.pread(fd, 99, 0) for fd in fds] == [b"before"] * 3
    finally:
        for fd in fds:
            os.close(fd)


def test_a_file_whose_path_leads_to_another_is_still_itself(
    ask: Callable[..., Any], opened: Callable[..., int], home: Path
) -> None:
    (home / "file").write_text("old", encoding="utf-8")
    fds = [opened(home / "file", flags) for flags in (os.O_RDONLY, os.O_RDWR)]
    (home / "new").write_text("new", encoding="utf-8")
    (home / "new").rename(home / "file")

    assert ask(lambda: [os.read(fd, 9).decode() for fd in fds]) == ["old", "old"]


def test_a_sparse_copy_is_as_sparse(ask: Callable[..., Any]) -> None:
    fd = os.memfd_create("sparse")
    os.pwrite(fd, b"end", 1 << 32)

    def look() -> list[object]:
        status = os.fstat(fd)
        return [status.st_size, status.st_blocks < 100, os.pread(fd, 9, 1 << 32).decode()]

    try:
        assert ask(look) == [(1 << 32) + 3, True, "end"]
    finally:
        os.close(fd)


def test_a_file_in_a_fresh_directory_is_put_back(ask: Callable[..., Any]) -> None:
    with (
        tempfile.TemporaryDirectory(dir="/tmp", prefix="isolate-") as directory,
        open(f"{directory}/log", "w+", encoding="utf-8", buffering=1) as file,
    ):
        os.chmod(file.name, 0o640)
        file.write("before\n")

        def write() -> list[object]:
            file.write("inside\n")
            text = Path(file.name).read_text(encoding="utf-8")
            return [text, os.stat(file.name).st_mode & 0o777]

        assert [ask(write), ask(write)] == [["before\ninside\n", 0o640]] * 2
        assert Path(file.name).read_text(encoding="utf-8") == "before\n"


def test_in_another_root_a_file_is_there_without_its_path(
    ask: Callable[..., Any], opened: Callable[..., int], home: Path
) -> None:
    (home / "file").write_text("content", encoding="utf-8")
    fd = opened(home / "file", os.O_RDWR)

    def use() -> list[object]:
        os.write(fd, b"C")
        return [os.pread(fd, 9, 0).decode(), os.path.exists(home)]

    assert ask(use, Spec(root=MinimalRoot())) == ["Content", False]
    assert (home / "file").read_text(encoding="utf-8") == "content"


def test_a_file_that_its_user_may_not_open_again_is_still_open(
    ask: Callable[..., Any], opened: Callable[..., int], home: Path
) -> None:
    (home / "closed").mkdir()
    fds = []
    for path in (home / "file", home / "closed" / "file"):
        path.write_text("content", encoding="utf-8")
        fds += [opened(path, os.O_RDONLY), opened(path, os.O_RDWR)]
        path.chmod(0)
    (home / "closed").chmod(0)

    def use() -> list[object]:
        read = [os.read(fd, 9).decode() for fd in fds]
        return [read, [os.pwrite(fd, b"C", 0) for fd in fds[1::2]]]

    try:
        assert [ask(use), ask(use)] == [[["content"] * 4, [1, 1]]] * 2
    finally:
        (home / "closed").chmod(0o700)


# --- what cannot be had ---


@pytest.mark.parametrize("flags", [os.O_RDWR, os.O_WRONLY])
def test_too_large_to_copy_is_readable_or_covered_and_noted(
    pool: Pool, opened: Callable[..., int], home: Path, flags: int
) -> None:
    with open(home / "large", "wb") as file:
        file.write(b"x" * MIB * 65)
    fd = opened(home / "large", flags)

    def look(entry: Entry) -> list[object]:
        noted = [
            (one.fd, one.path, one.readable)
            for one in entry.covered
            if one.path.startswith(str(home))
        ]
        return [os.readlink(f"/proc/self/fd/{fd}"), noted]

    where = str(home / "large") if flags == os.O_RDWR else "/dev/null"
    assert told(pool, look) == [where, [[fd, str(home / "large"), flags == os.O_RDWR]]]


@pytest.mark.needs("landlock")
def test_a_partial_sandbox_covers_what_it_could_write_to(
    pool: Pool, opened: Callable[..., int], home: Path
) -> None:
    (home / "file").write_text("content", encoding="utf-8")
    reading, writing = (opened(home / "file", flags) for flags in (os.O_RDONLY, os.O_RDWR))

    def look(entry: Entry) -> list[object]:
        noted = [(one.fd, one.kind) for one in entry.covered if one.path.startswith(str(home))]
        return [os.read(reading, 9).decode(), os.readlink(f"/proc/self/fd/{writing}"), noted]

    expected = ["content", "/dev/null", [[writing, Kind.FILE]]]
    assert [told(pool, look, PARTIAL), told(pool, look, PARTIAL)] == [expected] * 2


def test_the_sandboxs_own_descriptors_are_of_no_use(pool: Pool) -> None:
    pool.prepare(Spec())

    def look(_: Entry) -> list[str]:
        links = []
        for fd in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                links.append(os.readlink(f"/proc/self/fd/{fd}"))
        return [one for one in links if one.startswith("/sys/") or "isolate-keeper" in one]

    assert told(pool, look) == []


# --- what at-fork functions have done ---


def test_what_was_closed_or_opened_at_the_fork_is_left_alone(
    ask: Callable[..., Any], opened: Callable[..., int], home: Path
) -> None:
    (home / "file").write_text("content", encoding="utf-8")
    files = [opened(home / "file", os.O_RDWR) for _ in range(2)]
    pipe = os.pipe()
    reopened = os.pipe()
    parent = os.getpid()
    is_over = False

    def in_child() -> None:
        if is_over or os.getpid() == parent:
            return
        for fd in (*pipe, files[0]):
            os.close(fd)
        here = os.eventfd(7)
        os.dup2(here, reopened[0])
        os.close(here)

    os.register_at_fork(after_in_child=in_child)

    def look() -> list[object]:
        closed = 0
        for fd in (*pipe, files[0]):
            try:
                os.fstat(fd)
            except OSError:
                closed += 1
        return [closed, os.eventfd_read(reopened[0]), os.read(files[1], 9).decode()]

    try:
        assert ask(look) == [3, 7, "content"]
    finally:
        is_over = True
        for fd in (*pipe, *reopened):
            os.close(fd)


# --- directories ---


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_PATH])
def test_a_directory_is_the_one_inside(
    ask: Callable[..., Any], opened: Callable[..., int], home: Path, flags: int
) -> None:
    fd = opened(home, os.O_DIRECTORY | flags)
    (home / "outside").touch()

    def write() -> list[str]:
        os.close(os.open("inside", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        return sorted(os.listdir(home))

    assert [ask(write), ask(write)] == [["inside", "outside"]] * 2
    assert os.listdir(home) == ["outside"]


def test_a_directory_that_is_not_inside_is_covered(
    pool: Pool, opened: Callable[..., int], home: Path
) -> None:
    removed = home / "removed"
    removed.mkdir()
    fds = [opened(path, os.O_DIRECTORY | os.O_RDONLY) for path in (removed, home)]
    removed.rmdir()

    def look(entry: Entry) -> list[object]:
        links = [os.readlink(f"/proc/self/fd/{fd}") for fd in fds]
        return [links, sorted(one.fd for one in entry.covered if one.kind is Kind.DIRECTORY)]

    null = "/dev/null"
    assert told(pool, look, Spec(root=MinimalRoot())) == [[null, null], sorted(fds)]
    assert told(pool, look) == [[null, str(home)], fds[:1]]


# --- memory that is a file ---


@pytest.mark.parametrize("place", ["home", "memory"])
@pytest.mark.parametrize(
    "spec", [Spec(), pytest.param(PARTIAL, marks=pytest.mark.needs("landlock"))]
)
def test_what_is_written_to_shared_memory_stays_inside(
    ask: Callable[..., Any], opened: Callable[..., int], home: Path, place: str, spec: Spec
) -> None:
    if place == "home":
        fd = opened(home / "file", os.O_RDWR | os.O_CREAT)
    else:
        fd = os.memfd_create("memory")
    os.write(fd, b"before".ljust(8192, b"."))
    memory = mmap.mmap(fd, 8192)

    def write() -> str:
        memory[:6] = b"inside"
        return memory[:7].decode()

    try:
        assert [ask(write, spec), ask(write, spec)] == ["inside.", "inside."]
        assert memory[:7] == b"before."
    finally:
        memory.close()
        if place == "memory":
            os.close(fd)


def test_shared_memory_is_the_file_that_was_opened_again(
    ask: Callable[..., Any], opened: Callable[..., int], home: Path
) -> None:
    fd = opened(home / "file", os.O_RDWR | os.O_CREAT)
    opened(home / "file", os.O_RDONLY)
    os.write(fd, b"before".ljust(8192, b"."))

    with mmap.mmap(fd, 4096, offset=4096) as memory:

        def write() -> list[str]:
            memory[:6] = b"inside"
            return [os.pread(fd, 6, at).decode() for at in (0, 4096)]

        assert ask(write) == ["before", "inside"]
    assert os.pread(fd, 6, 4096) == b"......"
