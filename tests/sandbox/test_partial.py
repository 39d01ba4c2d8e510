"""A sandbox without namespaces: what a process can deny itself, and who ends what it leaves."""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from typing import TYPE_CHECKING
from typing import Any

import pytest

from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.linux import landlock
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.outcome import OutOfMemory
from pytest_isolate.sandbox.outcome import Signaled
from pytest_isolate.sandbox.outcome import TimedOut
from pytest_isolate.sandbox.spec import Limits
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.supervise import execution
from pytest_isolate.wire.frames import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from pytest_isolate.sandbox.pool import Pool
    from pytest_isolate.sandbox.supervise.execution import End
    from pytest_isolate.wire.channel import Writer
    from pytest_isolate.wire.frames import Frame

SPEC = Spec(partial=True, landlock=True)
ENTRY = Entry(cwd="/")
PATIENCE = 20.0


pytestmark = pytest.mark.needs("landlock")


@pytest.fixture
def run(pool: Pool) -> Callable[..., End]:
    """Return a function that runs *main* in a fresh partial sandbox."""

    def run(main: Callable[[Writer], None], spec: Spec = SPEC, **how: Any) -> End:
        sandbox = pool.acquire(spec)
        try:
            return execution.run(sandbox, ENTRY, main, **how)
        finally:
            sandbox.retire()

    return run


@pytest.fixture
def ask(run: Callable[..., End]) -> Callable[..., Any]:
    """Return a function that calls *question* in a partial sandbox and returns its answer."""

    def ask(question: Callable[[], object], spec: Spec = SPEC) -> Any:
        answers: list[Any] = []

        def hear(frame: Frame) -> None:
            if isinstance(frame, Event):
                answers.append(frame.data["answer"])

        def main(writer: Writer) -> None:
            writer.send(Event("answer", {"answer": question()}))

        end = run(main, spec, on_frame=hear)
        assert end.outcome == Exited(0)
        assert end.said_bye
        return answers[0]

    return ask


def refusal(call: Callable[[], object]) -> str:
    """Return the name of the error that *call* raises, or ""."""
    try:
        call()
    except OSError as error:
        return type(error).__name__
    return ""


# --- files ---


def test_files_outside_are_read_and_not_written(ask: Callable[..., Any], tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("before")

    def touch() -> list[str]:
        attempts = (
            lambda: there.write_text("after"),
            lambda: os.truncate(there, 0),
            there.unlink,
            lambda: there.rename(tmp_path / "elsewhere"),
            lambda: (tmp_path / "new").write_text("x"),
            (tmp_path / "dir").mkdir,
            lambda: (tmp_path / "link").symlink_to("there"),
            lambda: os.mkfifo(tmp_path / "fifo"),
        )
        return [there.read_text(), *(refusal(attempt) for attempt in attempts)]

    assert ask(touch) == ["before", *["PermissionError"] * 8]
    assert there.read_text() == "before"
    assert os.listdir(tmp_path) == ["there"]


def test_writable_paths_are_written_through(ask: Callable[..., Any], tmp_path: Path) -> None:
    spec = Spec(partial=True, landlock=True, writable=(str(tmp_path),))

    def write() -> str:
        (tmp_path / "a").mkdir()
        (tmp_path / "b").write_text("x")
        (tmp_path / "b").rename(tmp_path / "a" / "c")
        return (tmp_path / "a" / "c").read_text()

    assert ask(write, spec) == "x"
    assert (tmp_path / "a" / "c").exists()


@pytest.mark.usefixtures("footprint")
def test_temporary_files_have_a_directory_of_their_own_that_is_gone_afterwards(
    ask: Callable[..., Any],
) -> None:
    def write() -> list[str]:
        place = tempfile.mkdtemp()
        closed = Path(place, "closed")
        closed.mkdir()
        (closed / "file").write_text("x")
        closed.chmod(0)
        return [place, os.environ["TMPDIR"]]

    place, directory = ask(write)

    assert os.path.dirname(place) == directory
    assert directory != tempfile.gettempdir()
    wait_until(lambda: not os.path.exists(directory), "the directory stays")


def test_devices_and_locks_work(ask: Callable[..., Any]) -> None:
    def use() -> str:
        with open("/dev/null", "w", encoding="ascii") as null:
            null.write("x")
        lock = "import multiprocessing; multiprocessing.Lock().acquire()"
        return subprocess.run(
            [sys.executable, "-c", lock], check=True, capture_output=True, text=True
        ).stderr

    assert ask(use) == ""


def test_kernel_s_knobs_are_out_of_reach(ask: Callable[..., Any]) -> None:
    def turn() -> str:
        return refusal(lambda: open("/proc/sys/kernel/core_pattern", "r+", encoding="ascii"))

    assert ask(turn) in {"PermissionError", "OSError"}  # OSError: /proc/sys is mounted read-only


# --- others ---


def test_processes_outside_cannot_be_signalled(ask: Callable[..., Any]) -> None:
    version = landlock.abi()
    outside = os.getpid()

    def send() -> list[str]:
        own = subprocess.Popen(["sleep", "60"])
        own.kill()
        return [refusal(lambda: os.kill(outside, 0)), str(own.wait())]

    expected = "PermissionError" if version >= landlock.SCOPES_ABI else ""
    assert ask(send) == [expected, str(-signal.SIGKILL)]


def test_abstract_sockets_outside_cannot_be_reached(ask: Callable[..., Any]) -> None:
    name = f"\0isolate-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(name)
        server.listen()

        def connect() -> list[str]:
            with socket.socket(socket.AF_UNIX) as own, socket.socket(socket.AF_UNIX) as client:
                own.bind(name + "own")
                own.listen()
                client.connect(name + "own")
            return [refusal(lambda: socket.socket(socket.AF_UNIX).connect(name))]

        expected = "PermissionError" if landlock.abi() >= landlock.SCOPES_ABI else ""
        assert ask(connect) == [expected]


def test_network_none_is_no_tcp(ask: Callable[..., Any]) -> None:
    def bind() -> str:
        return refusal(lambda: socket.create_server(("127.0.0.1", 0)).close())

    expected = "PermissionError" if landlock.abi() >= landlock.TCP_ABI else ""
    assert ask(bind, Spec(partial=True, landlock=True, network=Network.NONE)) == expected
    assert ask(bind, Spec(partial=True, landlock=True, network=Network.HOST)) == ""


def test_session_is_its_own_and_core_files_are_off(ask: Callable[..., Any]) -> None:
    import resource  # noqa: PLC0415

    def look() -> list[object]:
        return [os.getsid(0) == os.getpid(), *resource.getrlimit(resource.RLIMIT_CORE)]

    assert ask(look) == [True, 0, 0]


# --- ends ---


def test_ends_are_told_as_in_every_sandbox(run: Callable[..., End]) -> None:
    assert run(lambda _: os._exit(7)).outcome == Exited(7)
    killed = run(lambda _: os.kill(os.getpid(), signal.SIGKILL))
    assert killed.outcome == Signaled(signal.SIGKILL)


@pytest.mark.needs("memory")
def test_cap_holds_where_a_cgroup_can_be_had(run: Callable[..., End]) -> None:
    def use(_: Writer) -> None:
        data = bytearray(64 << 20)
        data[:: 1 << 12] = b"\1" * (len(data) >> 12)

    spec = Spec(partial=True, landlock=True, limits=Limits(memory=16 << 20))
    assert isinstance(run(use, spec).outcome, OutOfMemory)


def leave_processes(mark: str) -> None:
    """Start processes that would outlive this one, two of them in sessions of their own."""
    script = f"sleep 600 {mark} & (setsid sleep 600 {mark} &) ; setsid sleep 600 {mark} &"
    # `sleep` adds its arguments up, and so takes a mark that is a number.
    subprocess.run(["sh", "-c", script], check=True)
    wait_until(lambda: len(processes(mark)) == 3, "the processes do not start")


def processes(mark: str) -> list[int]:
    """Return the processes that have *mark* among their arguments."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            arguments = Path("/proc", name, "cmdline").read_bytes().split(b"\0")
            if arguments[0] == b"sleep" and mark.encode() in arguments:
                found.append(int(name))
    return found


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@pytest.fixture
def mark() -> Iterator[str]:
    """Return an argument for processes to be found by; none is to be left."""
    mark = f"0.{int.from_bytes(os.urandom(6), 'big')}"
    yield mark
    wait_until(lambda: not processes(mark), "processes are left")


def test_processes_that_are_left_die_with_the_test(run: Callable[..., End], mark: str) -> None:
    end = run(lambda _: leave_processes(mark))

    assert end.outcome == Exited(0)
    assert processes(mark) == []


def test_processes_that_are_left_die_at_a_timeout(run: Callable[..., End], mark: str) -> None:
    def linger(_: Writer) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        leave_processes(mark)
        time.sleep(600)

    end = run(linger, timeout=2)

    assert end.outcome == TimedOut(2)
    assert processes(mark) == []


@pytest.mark.parametrize("victim", ["pytest", "keeper"])
def test_processes_die_with_whoever_owns_the_sandbox(victim: str, mark: str) -> None:
    script = f"""
        import os, signal, sys, time
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from pytest_isolate.sandbox.supervise import execution
        from pytest_isolate.sandbox.launch.entry import Entry
        from pytest_isolate.sandbox.pool import Pool
        from test_partial import SPEC, leave_processes, processes, wait_until

        pool = Pool.start()
        victim = os.getpid() if {victim!r} == "pytest" else pool._keeper

        def main(writer):
            leave_processes({mark!r})
            time.sleep(600)

        def start(pid):
            wait_until(lambda: len(processes({mark!r})) == 3, "the processes do not start")
            os.kill(victim, signal.SIGKILL)

        sandbox = pool.acquire(SPEC)
        execution.run(sandbox, Entry(cwd="/"), main, on_start=start)
        sandbox.retire()
        assert not os.path.exists(sandbox.scratch)
    """
    script = textwrap.dedent(script)
    done = subprocess.run(
        [sys.executable, "-c", script], timeout=60, check=False, capture_output=True, text=True
    )

    assert done.returncode == (-signal.SIGKILL if victim == "pytest" else 0), done.stderr
    wait_until(lambda: not processes(mark), "processes are left")


def test_writing_processes_of_many_generations_are_all_found(
    run: Callable[..., End], mark: str
) -> None:
    def fork_on(_: Writer) -> None:
        for _generation in range(20):
            if os.fork():
                os._exit(0)
            os.setsid()
        os.execvp("sleep", ["sleep", "600", mark])  # noqa: S606  # no shell is wanted

    run(fork_on)

    assert processes(mark) == []
