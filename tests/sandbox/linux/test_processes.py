"""What a pidfd and /proc tell of a process: whether it has ended, how it is, whose it is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING
from typing import Final

import pytest

from pytest_isolate.sandbox.linux import pidfds
from pytest_isolate.sandbox.linux import process_tree
from pytest_isolate.sandbox.linux import procfs

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator
    from pathlib import Path

NOBODY: Final = 2**22 + 1


@pytest.fixture
def sleeper() -> Iterator[Callable[[], int]]:
    """Return a function that starts a process, of which it returns the pidfd."""
    started: list[tuple[subprocess.Popen[bytes], int]] = []

    def start() -> int:
        child = subprocess.Popen(["sleep", "60"])
        started.append((child, os.pidfd_open(child.pid)))
        return started[-1][1]

    yield start
    for child, pidfd in started:
        child.kill()
        child.wait()
        os.close(pidfd)


def test_end_of_a_process_is_seen_and_waited_for(sleeper: Callable[[], int]) -> None:
    pidfd = sleeper()
    assert not pidfds.has_ended(pidfd)
    assert not pidfds.has_ended(pidfd, 0.01)

    signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    assert pidfds.has_ended(pidfd, 60)
    assert pidfds.has_ended(pidfd)


def test_first_of_several_to_end_is_told(sleeper: Callable[[], int]) -> None:
    both = sleeper(), sleeper()
    assert pidfds.ended(both, 0.01) == set()

    signal.pidfd_send_signal(both[1], signal.SIGKILL)

    assert pidfds.ended(both, None) == {both[1]}


def test_pid_of_a_pidfd_is_told_until_its_process_is_waited_for() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        pidfd = os.pidfd_open(child.pid)
        assert pidfds.pid_of(pidfd) == child.pid
        child.kill()
    gone = pidfds.pid_of(pidfd)
    members = process_tree.namespace_of(pidfd)
    os.close(pidfd)

    assert gone is None
    assert members == []


def test_name_of_a_process_hides_neither_its_state_nor_its_parent(tmp_path: Path) -> None:
    program = tmp_path / "a) Z 1 (b"
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([program, "60"]) as child:
        os.kill(child.pid, signal.SIGSTOP)
        os.waitpid(child.pid, os.WUNTRACED)
        told = procfs.state_of(child.pid), procfs.parent_of(child.pid)
        thread = procfs.state_of(f"{child.pid}/task/{child.pid}")
        child.kill()

    assert told == ("T", os.getpid())
    assert thread == "T"


def test_children_of_a_process_are_found() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        found = procfs.children_of("self")
        child.kill()

    assert child.pid in found
    assert procfs.children_of(os.getpid()) == [pid for pid in found if pid != child.pid]


def test_sizes_are_bytes_and_all_else_is_left_out() -> None:
    fields = {"Name": "x", "VmRSS": "12 kB", "Threads": "1", "Rss": "     3 kB"}

    assert procfs.sizes(fields) == {"VmRSS": 12 << 10, "Rss": 3 << 10}
    assert procfs.memory_of(os.getpid())["Rss"] > 1 << 20


def test_long_file_is_read_to_its_end() -> None:
    ours = procfs.read("self/smaps")

    assert ours.rstrip().rpartition(b"\n")[2].startswith(b"VmFlags:")
    assert procfs.read("self/smaps", 10) == ours[:10]


def test_process_that_is_not_there_has_its_answers() -> None:
    assert procfs.state_of(NOBODY) == ""
    assert procfs.place_of(NOBODY) == ""
    assert procfs.parent_of(NOBODY) == 0
    assert procfs.children_of(NOBODY) == []
    assert procfs.waiting_thread(NOBODY) is None
    for ask in (procfs.memory_of, lambda pid: procfs.fields_of(f"{pid}/status")):
        with pytest.raises(FileNotFoundError):
            ask(NOBODY)


def test_handler_of_a_signal_is_seen() -> None:
    number = signal.SIGUSR2
    assert not procfs.catches(os.getpid(), number)
    before = signal.signal(number, lambda *_: None)
    try:
        assert procfs.catches(os.getpid(), number)
    finally:
        signal.signal(number, before)
    assert not procfs.catches(NOBODY, number)
