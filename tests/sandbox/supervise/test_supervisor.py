"""One process in one sandbox: what it finds there, how it ends, and what is said of its end."""

from __future__ import annotations

import errno
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

import pytest

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.outcome import OutOfMemory
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import Signaled
from pytest_isolate.sandbox.outcome import TimedOut
from pytest_isolate.sandbox.spec import Limits
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.spec import User
from pytest_isolate.sandbox.supervise import execution
from pytest_isolate.sandbox.supervise.post_mortem import PostMortem
from pytest_isolate.wire.frames import Event
from pytest_isolate.wire.frames import Frame
from pytest_isolate.wire.frames import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_isolate.sandbox.cgroups.oom_notifier import OomNotifier
    from pytest_isolate.sandbox.pool import Pool
    from pytest_isolate.sandbox.supervise.execution import End
    from pytest_isolate.sandbox.supervise.post_mortem import Answer
    from pytest_isolate.wire.channel import Writer

pytestmark = pytest.mark.needs("sandbox")

MIB: Final = 1 << 20
ENTRY: Final = Entry(cwd="/")
PORT: Final = 5432


@pytest.fixture
def run(pool: Pool) -> Callable[..., End]:
    """Return a function that runs *main* in a fresh sandbox."""

    def run(main: Callable[[Writer], None], spec: Spec | None = None, **how: Any) -> End:
        sandbox = pool.acquire(spec or Spec())
        try:
            return execution.run(sandbox, how.pop("entry", ENTRY), main, **how)
        finally:
            sandbox.retire()

    return run


@pytest.fixture
def ask(run: Callable[..., End]) -> Callable[..., Any]:
    """Return a function that calls *question* in a fresh sandbox and returns its answer."""

    def ask(question: Callable[[], object], spec: Spec | None = None, **how: Any) -> Any:
        answers: list[Any] = []

        def hear(frame: Frame) -> None:
            if isinstance(frame, Event):
                answers.append(frame.data["answer"])

        def main(writer: Writer) -> None:
            writer.send(Event("answer", {"answer": question()}))

        end = run(main, spec, on_frame=hear, **how)
        assert end.outcome == Exited(0)
        assert end.said_bye
        return answers[0]

    return ask


def namespaces() -> dict[str, str]:
    names = ("user", "mnt", "pid", "uts", "ipc", "net", "cgroup")
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in names}


# --- what a process finds inside ---


def test_every_namespace_is_fresh(ask: Callable[..., Any]) -> None:
    inside, outside = ask(namespaces), namespaces()

    assert not set(inside.values()) & set(outside.values())


def test_sandboxes_at_the_same_time_share_nothing(pool: Pool) -> None:
    # Compared while both live: the kernel gives a dead namespace's number away again.
    sandboxes = [pool.acquire(Spec()) for _ in range(2)]
    seen: list[set[str]] = []

    def hear(frame: Frame) -> None:
        if isinstance(frame, Event):
            seen.append(set(frame.data.values()) - {frame.data["cgroup"]})

    for sandbox in sandboxes:
        execution.run(
            sandbox, ENTRY, lambda writer: writer.send(Event("", namespaces())), on_frame=hear
        )
    for sandbox in sandboxes:
        sandbox.retire()

    assert len(seen[0] | seen[1]) == 12


def test_caller_stays_in_its_own_namespaces(ask: Callable[..., Any]) -> None:
    before = namespaces(), os.readlink("/proc/self/ns/pid_for_children")
    ask(os.getpid)

    assert (namespaces(), os.readlink("/proc/self/ns/pid_for_children")) == before


def test_process_is_not_pid_one_and_sees_only_its_own(ask: Callable[..., Any]) -> None:
    def look() -> tuple[int, int, list[str]]:
        return os.getpid(), os.getppid(), [p for p in os.listdir("/proc") if p.isdigit()]

    pid, parent, everybody = ask(look)

    assert pid != 1
    assert parent == 0
    assert sorted(everybody) == ["1", str(pid)]


def test_identity_is_the_callers(ask: Callable[..., Any]) -> None:
    assert ask(lambda: [os.getuid(), os.getgid()]) == [os.getuid(), os.getgid()]


@pytest.mark.needs("pivot_root")
def test_user_root_is_uid_zero_and_may_mount(ask: Callable[..., Any]) -> None:
    def mount() -> list[object]:
        done = subprocess.run(
            ["/bin/mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
        )
        return [os.getuid(), done.returncode, done.stderr.decode()]

    assert ask(mount, Spec(user=User.ROOT)) == [0, 0, ""]


def test_user_keep_may_not_mount(ask: Callable[..., Any]) -> None:
    def mount() -> int:
        command = ["/bin/mount", "-t", "tmpfs", "none", "/mnt"]
        return subprocess.run(command, capture_output=True, check=False).returncode

    assert ask(mount) != 0


def test_host_name_is_set_inside_only(ask: Callable[..., Any]) -> None:
    before = socket.gethostname()

    assert ask(socket.gethostname, Spec(hostname="container-demo")) == "container-demo"
    assert socket.gethostname() == before


def talk_to_myself() -> bytes:
    with socket.create_server(("127.0.0.1", PORT)) as server:
        with socket.create_connection(("127.0.0.1", PORT)) as client:
            client.sendall(b"hello")
        peer, _ = server.accept()
        with peer:
            return peer.recv(10)


def test_loopback_is_up_and_there_is_nothing_else(ask: Callable[..., Any]) -> None:
    def look() -> list[object]:
        return [talk_to_myself().decode(), [name for _, name in socket.if_nameindex()]]

    assert ask(look) == ["hello", ["lo"]]


def test_network_none_has_no_loopback(ask: Callable[..., Any]) -> None:
    def connect() -> int:
        try:
            talk_to_myself()
        except OSError as error:
            return error.errno or 0
        return 0

    assert ask(connect, Spec(network=Network.NONE)) == errno.ENETUNREACH


def test_network_host_is_the_callers(ask: Callable[..., Any]) -> None:
    inside = ask(namespaces, Spec(network=Network.HOST))

    assert inside["net"] == os.readlink("/proc/self/ns/net")
    assert inside["ipc"] != os.readlink("/proc/self/ns/ipc")


def test_nothing_written_survives(ask: Callable[..., Any], tmp_path: Path) -> None:
    home = Path.home()
    places = [Path(place) for place in ("/tmp", "/var/tmp", "/dev/shm", home, "/run", "/etc")]

    def write() -> list[str]:
        written = []
        for place in places:
            file = place / f"left-by-{tmp_path.name}"
            try:
                file.write_text("x", encoding="utf-8")
            except PermissionError:
                continue
            written.append(str(file))
        return written

    written = ask(write)

    assert len(written) >= 4
    assert [path for path in written if os.path.exists(path)] == []


def test_writable_paths_are_written_through(ask: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "through"
    ask(lambda: file.write_text("x", encoding="utf-8"), Spec(writable=(str(tmp_path),)))

    assert file.read_text(encoding="utf-8") == "x"


@pytest.mark.parametrize(
    "user", [User.KEEP, pytest.param(User.ROOT, marks=pytest.mark.needs("pivot_root"))]
)
def test_kernel_settings_cannot_be_written(user: User, ask: Callable[..., Any]) -> None:
    # Opened and never written: were it writable, nothing would happen to the machine.
    def knobs() -> list[str]:
        opened = []
        for path in (
            "/proc/sys/kernel/core_pattern",
            "/proc/sysrq-trigger",
            "/proc/sys/vm/drop_caches",
        ):
            try:
                os.close(os.open(path, os.O_WRONLY))
            except OSError:
                continue
            opened.append(path)
        return opened

    assert ask(knobs, Spec(user=user)) == []


@pytest.mark.needs("pivot_root")
@pytest.mark.skipif(os.getuid() != 0, reason="to an ordinary user these are closed anyway")
def test_root_inside_cannot_undo_what_protects_the_machine(ask: Callable[..., Any]) -> None:
    # Nothing is written to where it would matter: taking the mount off is what must not work.
    def attempts() -> list[list[object]]:
        commands = (
            ["umount", "/proc/sys"],
            ["mount", "-o", "remount,bind,rw", "/proc/sys"],
            ["umount", "/sys"],
            ["mount", "-o", "remount,bind,rw", "/sys"],
            ["umount", "-l", "/proc"],
        )
        return [
            [command, subprocess.run(command, capture_output=True, check=False).returncode]
            for command in commands
        ]

    results = ask(attempts, Spec(user=User.ROOT))

    assert [command for command, status in results if status == 0] == []


# --- what it leaves at the door ---


def test_descriptors_that_lead_out_are_covered(ask: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content", encoding="utf-8")
    here, there = socket.socketpair()
    pipe = os.pipe()
    fds = {
        "directory": os.open("/", os.O_RDONLY | os.O_DIRECTORY),
        "writable file": os.open(file, os.O_WRONLY),
        "socket": here.fileno(),
        "pipe": pipe[1],
        "pidfd": os.pidfd_open(os.getpid()),
    }
    readable = os.open(file, os.O_RDONLY)

    def look() -> list[object]:
        return [
            {name: os.readlink(f"/proc/self/fd/{fd}") for name, fd in fds.items()},
            os.pread(readable, 100, 0).decode(),
        ]

    try:
        assert ask(look) == [dict.fromkeys(fds, "/dev/null"), "content"]
    finally:
        for fd in (fds["directory"], fds["writable file"], fds["pidfd"], readable, *pipe):
            os.close(fd)
        here.close()
        there.close()


def test_kept_descriptors_are_left_alone(ask: Callable[..., Any]) -> None:
    reading, writing = os.pipe()
    try:
        entry = Entry(cwd="/", keep_fds=(writing,))
        ask(lambda: os.write(writing, b"still here"), entry=entry)

        assert os.read(reading, 100) == b"still here"
    finally:
        os.close(reading)
        os.close(writing)


def test_signal_to_its_own_process_group_stays_inside(run: Callable[..., End]) -> None:
    # Guarded: SIGURG does nothing to a process that it reaches by mistake.
    heard: list[int] = []
    before = signal.signal(signal.SIGURG, lambda number, _: heard.append(number))
    try:
        end = run(lambda _: os.kill(0, signal.SIGURG))
    finally:
        signal.signal(signal.SIGURG, before)

    assert heard == []
    assert end.outcome == Exited(0)


def test_environment_is_added_to_and_filtered(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setenv("PIP_INDEX", "y")
    entry = Entry(cwd="/", env={"JAVA_HOME": "/java"}, pass_env=("PATH", "PIP_*"))

    environ = ask(lambda: dict(os.environ), entry=entry)

    assert environ["JAVA_HOME"] == "/java"
    assert environ["PIP_INDEX"] == "y"
    assert environ["PATH"] == os.environ["PATH"]
    assert "SECRET_TOKEN" not in environ


def test_directory_that_is_not_there_is_a_setup_failure(run: Callable[..., End]) -> None:
    end = run(lambda _: None, entry=Entry(cwd="/no/such/place"))

    assert isinstance(end.outcome, SetupFailed)
    assert str(end.outcome.error) == (
        "change directory to /no/such/place: No such file or directory"
    )


# --- how it ends ---


def test_frames_arrive_whole_and_in_order(run: Callable[..., End]) -> None:
    heard: list[Frame] = []
    sent: list[Frame] = [
        Phase("a", "call"),
        Event("large", {"x": "y" * 3 * MIB}),
        Phase("a", "teardown"),
    ]

    def main(writer: Writer) -> None:
        for frame in sent:
            writer.send(frame)

    end = run(main, on_frame=heard.append)

    assert end.said_bye
    assert [type(frame).__name__ for frame in heard] == ["Confined", "Phase", "Event", "Phase"]
    assert heard[1:] == sent


@pytest.mark.parametrize("status", [0, 1, 3, 4, 255])
def test_early_exit_keeps_its_status_and_says_no_bye(run: Callable[..., End], status: int) -> None:
    end = run(lambda _: os._exit(status))

    assert end.outcome == Exited(status)
    assert not end.said_bye


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGTERM])
def test_signal_is_named_and_a_kill_is_no_oom(run: Callable[..., End], number: int) -> None:
    def main(_: Writer) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        time.sleep(60)

    assert run(main, Spec(limits=LIMITED)).outcome == Signaled(number)


LIMITED: Final = Limits(memory=64 * MIB)


@pytest.fixture
def memory_cap(require: Callable[[str], None]) -> Spec:
    require("memory")
    return Spec(limits=LIMITED)


def grow(_: object = None) -> None:
    hoard = []
    while True:
        hoard.append(bytearray(MIB))


def test_oom_kill_is_said_on_the_kernels_evidence(
    run: Callable[..., End], memory_cap: Spec
) -> None:
    end = run(grow, memory_cap)

    assert end.outcome == OutOfMemory(64 * MIB, 64 * MIB, outer=False)
    assert end.usage.memory_peak == 64 * MIB


def test_memory_cap_counts_grandchildren_together(
    run: Callable[..., End], memory_cap: Spec
) -> None:
    def main(_: Writer) -> None:
        for _number in range(4):
            if os.fork() == 0:
                hoard = bytearray(30 * MIB)
                time.sleep(5)
                os._exit(len(hoard) & 1)
        for _number in range(4):
            os.wait()

    end = run(main, memory_cap)

    assert isinstance(end.outcome, OutOfMemory)


def test_memory_cap_counts_files_in_a_tmpfs(run: Callable[..., End], memory_cap: Spec) -> None:
    def main(_: Writer) -> None:
        with Path("/dev/shm/big").open("wb") as file:
            file.writelines(bytes(MIB) for _number in range(100))

    assert isinstance(run(main, memory_cap).outcome, OutOfMemory)


def test_what_a_chore_gives_back_does_not_count(
    run: Callable[..., End], memory_cap: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = os.memfd_create("shared")
    looked_at = []

    def size() -> int:
        return os.fstat(shared).st_blocks * 512 // MIB

    def chore() -> float:
        os.ftruncate(shared, 0)
        return 60.0  # only the notifier wakes the caller before

    def look(post_mortem: PostMortem, notifier: OomNotifier) -> Answer:
        looked_at.append(size())
        return answer(post_mortem, notifier)

    def main(_: Writer) -> None:
        time.sleep(0.2)  # until the first chore is over
        for _number in range(50):
            os.write(shared, bytes(MIB))
        # With what the process itself has it comes to the cap; a busy machine has the steps from
        # there to the limit for the chore, more than a second.
        while size() > 32:
            os.write(shared, bytes(MIB))
            time.sleep(0.2)

    answer = PostMortem.answer
    monkeypatch.setattr(PostMortem, "answer", look)
    end = run(main, memory_cap, entry=Entry(cwd="/", keep_fds=(shared,)), chore=chore)
    os.close(shared)

    assert end.outcome == Exited(0)
    assert looked_at
    assert max(looked_at) < 32


@pytest.mark.needs("pids")
def test_pids_cap_makes_fork_fail(ask: Callable[..., Any]) -> None:
    def forks() -> int:
        for count in range(100):
            try:
                if os.fork() == 0:
                    time.sleep(60)
                    os._exit(0)
            except BlockingIOError:
                return count
        return 100

    assert ask(forks, Spec(limits=Limits(pids=10))) == 9


def test_time_limit_kills_what_blocks_signals_and_its_children(run: Callable[..., End]) -> None:
    def main(_: Writer) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        os.fork()
        time.sleep(60)

    started = time.monotonic()
    end = run(main, timeout=0.3)

    assert end.outcome == TimedOut(0.3)
    assert time.monotonic() - started < 10


def test_time_limit_holds_against_a_flood_of_frames(run: Callable[..., End]) -> None:
    def main(writer: Writer) -> None:
        while True:
            writer.send(Event("noise", {}))

    assert run(main, timeout=0.3).outcome == TimedOut(0.3)


def test_garbage_that_fills_the_pipe_does_not_block_the_process(run: Callable[..., End]) -> None:
    def main(writer: Writer) -> None:
        for _ in range(100):
            os.write(writer.fd, b"\xff" * 65536)

    end = run(main, timeout=20)

    assert isinstance(end.outcome, Exited)
    assert end.garbage


def test_process_left_running_does_not_delay_the_end(run: Callable[..., End]) -> None:
    def main(_: Writer) -> None:
        subprocess.Popen(["sleep", "61"])

    started = time.monotonic()
    end = run(main)

    assert end.said_bye
    assert time.monotonic() - started < 10


def test_thread_left_running_does_not_delay_the_end(run: Callable[..., End]) -> None:
    started = time.monotonic()
    end = run(lambda _: threading.Thread(target=time.sleep, args=(61,)).start())

    assert end.said_bye
    assert time.monotonic() - started < 10


def test_garbage_on_the_pipe_is_told_and_no_bye(run: Callable[..., End]) -> None:
    def main(writer: Writer) -> None:
        os.write(writer.fd, b"\xff" * 100)

    end = run(main)

    assert not end.said_bye
    assert end.garbage


def test_exception_out_of_main_is_an_early_exit(
    run: Callable[..., End], capfd: pytest.CaptureFixture[str]
) -> None:
    def main(_: Writer) -> None:
        msg = "a bug of ours"
        raise RuntimeError(msg)

    end = run(main)

    assert end.outcome == Exited(3)
    assert not end.said_bye
    assert "a bug of ours" in capfd.readouterr().err


def test_exception_out_of_a_callback_kills_the_process_and_goes_on_up(
    run: Callable[..., End],
) -> None:
    pids: list[int] = []

    def refuse(_: Frame) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(lambda _: time.sleep(60), on_frame=refuse, on_start=pids.append)

    assert not os.path.exists(f"/proc/{pids[0]}")


def test_orphans_do_not_stay_as_zombies(ask: Callable[..., Any]) -> None:
    def orphan() -> list[str]:
        subprocess.run(["sh", "-c", "true & exit"], check=True)
        end = time.monotonic() + 5
        rest = ["?"]
        while rest and time.monotonic() < end:
            rest = [
                p for p in os.listdir("/proc") if p.isdigit() and int(p) not in {1, os.getpid()}
            ]
        return rest

    assert ask(orphan) == []


def test_figures_are_measured(run: Callable[..., End], memory_cap: Spec) -> None:
    def main(_: Writer) -> None:
        hoard = bytearray(20 * MIB)
        end = time.process_time() + 0.2
        while time.process_time() < end:
            hoard[0] ^= 1

    usage = run(main, memory_cap).usage

    assert usage.memory_peak is not None
    assert 20 * MIB <= usage.memory_peak <= 40 * MIB
    assert usage.cpu_seconds is not None
    assert 0.2 <= usage.cpu_seconds <= 2
    assert usage.wall_seconds >= 0.2


def test_interpreter_is_the_callers_own_fork(ask: Callable[..., Any]) -> None:
    secret = object()

    assert ask(lambda: [id(secret), sys.executable]) == [id(secret), sys.executable]


def test_request_that_makes_no_sense_is_one_line(pool: Pool) -> None:
    with pytest.raises(SandboxError) as caught:
        pool.acquire(Spec(writable=("/no/such/path",)))

    assert "/no/such/path" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_temporary_directory_of_the_caller_is_there_and_empty(
    ask: Callable[..., Any],
) -> None:
    scratch = Path("/tmp") / f"isolate-test-{os.getpid()}"
    scratch.mkdir(mode=0o700)
    (scratch / "of the host").touch()
    try:

        def look() -> list[object]:
            (scratch / "of the sandbox").touch()
            return [os.listdir(scratch), scratch.stat().st_mode & 0o7777]

        assert ask(look, Spec(scratch=(str(scratch),))) == [["of the sandbox"], 0o700]
        assert os.listdir(scratch) == ["of the host"]
    finally:
        (scratch / "of the host").unlink()
        scratch.rmdir()
