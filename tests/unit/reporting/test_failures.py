"""Each way to end has its line, in the words that are promised."""

from __future__ import annotations

import signal

import pytest

from pytest_isolate.reporting import failures
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.outcome import MemoryExceeded
from pytest_isolate.sandbox.outcome import Outcome
from pytest_isolate.sandbox.outcome import OutOfMemory
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import Signaled
from pytest_isolate.sandbox.outcome import TimedOut
from pytest_isolate.sandbox.outcome import Usage
from pytest_isolate.sandbox.supervise.snapshot import Large
from pytest_isolate.sandbox.supervise.snapshot import ProcessInfo
from pytest_isolate.sandbox.supervise.snapshot import Snapshot

MIB = 1024**2
TROUBLE = SandboxError("read what the test process sent", "it is no frame")


@pytest.mark.parametrize(
    ("outcome", "word", "line"),
    [
        (
            OutOfMemory(100 * MIB, 100 * MIB, outer=False),
            "oom",
            "OOM killed: exceeded its memory cap of 100.0 MiB (peak 100.0 MiB)",
        ),
        (
            OutOfMemory(100 * MIB, None, outer=False),
            "oom",
            "OOM killed: exceeded its memory cap of 100.0 MiB",
        ),
        (
            OutOfMemory(100 * MIB, 40 * MIB, outer=True),
            "oom",
            (
                "OOM killed: a memory limit outside of its sandbox was reached,"
                " below its cap of 100.0 MiB (peak 40.0 MiB)"
            ),
        ),
        (
            OutOfMemory(None, 40 * MIB, outer=True),
            "oom",
            "OOM killed: a memory limit outside of its sandbox was reached (peak 40.0 MiB)",
        ),
        (
            MemoryExceeded(100 * MIB, 123 * MIB + 4 * MIB // 10),
            "memory",
            "Killed: watched memory exceeded its cap of 100.0 MiB (seen 123.4 MiB)",
        ),
        (TimedOut(10.0), "timeout", "Timed out: exceeded its limit of 10 s"),
        (TimedOut(0.5), "timeout", "Timed out: exceeded its limit of 0.5 s"),
        (Signaled(signal.SIGSEGV), "signal SIGSEGV", "Crashed: killed by SIGSEGV"),
        (Signaled(41), "signal 41", "Crashed: killed by signal 41"),
        (Exited(3), "exit 3", "Exited: left with status 3 before its report"),
        (Exited(0), "exit 0", "Exited: left with status 0 before its report"),
        (
            SetupFailed(SandboxError("mount proc on /proc", "Operation not permitted")),
            "isolation",
            "Isolation failed: mount proc on /proc: Operation not permitted",
        ),
    ],
)
def test_line_and_property_of(outcome: Outcome, word: str, line: str) -> None:
    death = failures.death_of(outcome, complete=False)

    assert death is not None
    assert (death.word, death.line) == (word, line)


@pytest.mark.parametrize("outcome", [Exited(0), Exited(3), Signaled(9), TimedOut(1.0)])
def test_how_a_process_leaves_after_it_has_said_everything_does_not_matter(
    outcome: Outcome,
) -> None:
    assert failures.death_of(outcome, complete=True) is None


@pytest.mark.parametrize(
    "outcome", [OutOfMemory(1, 1, outer=False), SetupFailed(SandboxError("x", "y"))]
)
def test_oom_kill_of_a_child_fails_a_test_that_went_on(outcome: Outcome) -> None:
    assert failures.death_of(outcome, complete=True) is not None


def test_garbage_is_said_unless_something_stronger_ended_the_test() -> None:
    exited = failures.death_of(Exited(0), complete=True, trouble=TROUBLE)
    killed = failures.death_of(Signaled(9), complete=False, trouble=TROUBLE)

    assert exited is not None
    assert exited.line == "Isolation failed: read what the test process sent: it is no frame"
    assert killed is not None
    assert killed.line == "Crashed: killed by SIGKILL"


def test_fix_is_under_the_line() -> None:
    death = failures.isolation_failed(SandboxError("a", "b", "do this"))

    assert death.text == "Isolation failed: a: b\ndo this"


def test_only_a_failure_of_the_sandbox_is_ours() -> None:
    outcomes = (Exited(1), Signaled(9), TimedOut(1.0), SetupFailed(SandboxError("a", "b")))

    ours = [
        death.ours
        for outcome in outcomes
        if (death := failures.death_of(outcome, complete=False)) is not None
    ]

    assert ours == [False, False, False, True]


def test_properties_are_the_figures_that_were_counted() -> None:
    usage = Usage(
        wall_seconds=1.23456789,
        cpu_seconds=0.5,
        memory_peak=MIB,
        memory_cap=2 * MIB,
        processes=2,
    )

    assert failures.properties(usage, None) == [
        ("isolate.outcome", "finished"),
        ("isolate.memory_peak", MIB),
        ("isolate.memory_cap", 2 * MIB),
        ("isolate.cpu_seconds", 0.5),
        ("isolate.wall_seconds", 1.234568),
        ("isolate.processes", 2),
    ]
    assert failures.properties(Usage(wall_seconds=0.0), None) == [
        ("isolate.outcome", "finished"),
        ("isolate.wall_seconds", 0.0),
    ]


def test_figures_for_people_name_the_cap() -> None:
    usage = Usage(wall_seconds=1.0, memory_peak=MIB, memory_cap=2 * MIB)

    assert failures.figures(usage) == "wall time: 1.00 s\nmemory peak: 1.0 MiB of 2.0 MiB"


TEST = ProcessInfo(pid=2, outer=12, command="pytest", is_main=True, rss=30 * MIB, pss=20 * MIB)
CHILD = ProcessInfo(pid=3, outer=13, command="sh -c \n" + "x" * 200, is_main=False, rss=MIB)


def test_processes_are_a_table() -> None:
    assert failures.processes(Snapshot(processes=(TEST, CHILD), killed=(TEST,))).splitlines() == [
        "pid       RSS       PSS  command",
        "  2  30.0 MiB  20.0 MiB  the test  <- killed by the kernel",
        "  3   1.0 MiB         ?  sh -c \\n" + "x" * 89 + "...",
    ]
    assert failures.processes(Snapshot(processes=(CHILD,) * 25)).endswith("\nand 5 smaller ones")
    assert failures.processes(Snapshot()) == ""


def test_killed_child_is_told_from_a_killed_test() -> None:
    assert failures.killed(Snapshot(killed=(TEST,))) == "pid 2 (20.0 MiB): the test"
    assert failures.killed(Snapshot(killed=(CHILD,))).endswith(
        "\nThe test itself was not killed; it fails for that all the same."
    )
    assert failures.killed(Snapshot()) == ""


HINT = [
    (
        "What a test writes lies in memory,"
        " and a file of the host's is copied there as a whole before"
    ),
    "its text, mode, owner or name changes, or it is opened to be written. Ways out: a larger",
    "`memory`, or `writable` with its directory, which lets changes through to the host.",
]


def test_files_are_told_with_where_they_come_from_and_what_helps() -> None:
    lost = Large(path="/project/big", size=160 * MIB, of_host=True, copying=True)
    copy = Large(path="/project/a\nb", size=20 * MIB, of_host=True)
    snapshot = Snapshot(files=(lost, copy, Large(path="/tmp/new", size=MIB)))

    assert failures.files(snapshot).splitlines() == [
        "160.0 MiB  /project/big  <- of the host, and was being copied",
        "20.0 MiB  /project/a\\nb  <- copy of the host's",
        "1.0 MiB  /tmp/new",
        *HINT,
    ]
    assert failures.files(Snapshot()) == ""


def test_what_helps_is_told_where_files_filled_the_memory_and_are_gone() -> None:
    memory = {"anonymous": 4 * MIB, "tmpfs and shared memory": 96 * MIB}

    first, *rest = failures.files(Snapshot(memory=memory)).splitlines()

    assert first.startswith("None is left: what did not fit is gone")
    assert rest == HINT
    assert failures.files(Snapshot(memory={**memory, "anonymous": 100 * MIB})) == ""


def test_files_are_told_of_those_that_were_out_of_memory_alone() -> None:
    snapshot = Snapshot(files=(Large(path="/tmp/new", size=MIB),))

    told = dict(failures.seen(snapshot, OutOfMemory(MIB, MIB, outer=False)))
    assert told["Largest files in memory"].startswith("1.0 MiB  /tmp/new")
    assert "Largest files in memory" not in dict(failures.seen(snapshot, TimedOut(1.0)))
