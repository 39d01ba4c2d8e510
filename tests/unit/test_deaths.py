"""Each way to end has its line, in the words that are promised."""

from __future__ import annotations

import signal

import pytest

from pytest_isolate import deaths
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.outcome import MemoryExceeded
from pytest_isolate.sandbox.outcome import Outcome
from pytest_isolate.sandbox.outcome import OutOfMemory
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import Signaled
from pytest_isolate.sandbox.outcome import TimedOut
from pytest_isolate.sandbox.outcome import Usage
from pytest_isolate.sandbox.scene import Inmate
from pytest_isolate.sandbox.scene import Scene

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
    death = deaths.death_of(outcome, complete=False)

    assert death is not None
    assert (death.word, death.line) == (word, line)


@pytest.mark.parametrize("outcome", [Exited(0), Exited(3), Signaled(9), TimedOut(1.0)])
def test_how_a_process_leaves_after_it_has_said_everything_does_not_matter(
    outcome: Outcome,
) -> None:
    assert deaths.death_of(outcome, complete=True) is None


@pytest.mark.parametrize(
    "outcome", [OutOfMemory(1, 1, outer=False), SetupFailed(SandboxError("x", "y"))]
)
def test_oom_kill_of_a_child_fails_a_test_that_went_on(outcome: Outcome) -> None:
    assert deaths.death_of(outcome, complete=True) is not None


def test_garbage_is_said_unless_something_stronger_ended_the_test() -> None:
    exited = deaths.death_of(Exited(0), complete=True, trouble=TROUBLE)
    killed = deaths.death_of(Signaled(9), complete=False, trouble=TROUBLE)

    assert exited is not None
    assert exited.line == "Isolation failed: read what the test process sent: it is no frame"
    assert killed is not None
    assert killed.line == "Crashed: killed by SIGKILL"


def test_mend_is_under_the_line() -> None:
    death = deaths.isolation_failed(SandboxError("a", "b", "do this"))

    assert death.text == "Isolation failed: a: b\ndo this"


def test_only_a_failure_of_the_sandbox_is_ours() -> None:
    outcomes = (Exited(1), Signaled(9), TimedOut(1.0), SetupFailed(SandboxError("a", "b")))

    ours = [
        death.ours
        for outcome in outcomes
        if (death := deaths.death_of(outcome, complete=False)) is not None
    ]

    assert ours == [False, False, False, True]


def test_properties_are_the_figures_that_were_counted() -> None:
    usage = Usage(wall_seconds=1.23456789, cpu_seconds=0.5, memory_peak=MIB, processes=2)

    assert deaths.properties(usage, None, 2 * MIB) == [
        ("isolate.outcome", "finished"),
        ("isolate.memory_peak", MIB),
        ("isolate.memory_cap", 2 * MIB),
        ("isolate.cpu_seconds", 0.5),
        ("isolate.wall_seconds", 1.234568),
        ("isolate.processes", 2),
    ]
    assert deaths.properties(Usage(wall_seconds=0.0), None, None) == [
        ("isolate.outcome", "finished"),
        ("isolate.wall_seconds", 0.0),
    ]


def test_figures_for_people_name_the_cap() -> None:
    usage = Usage(wall_seconds=1.0, memory_peak=MIB)

    assert deaths.figures(usage, 2 * MIB) == "wall time: 1.00 s\nmemory peak: 1.0 MiB of 2.0 MiB"


def test_stacks_end_where_the_tests_own_frames_do() -> None:
    stacks = """\
Current thread 0x1 (most recent call first):
  File "/test.py", line 1 in test
  File "/ours.py", line 2 in run
  File "/pytest.py", line 3 in main

Thread 0x2 (most recent call first):
  File "/thread.py", line 4 in run"""

    assert deaths.of_the_suite(stacks, "/ours.py").splitlines() == [
        "Current thread 0x1 (most recent call first):",
        '  File "/test.py", line 1 in test',
        "",
        "Thread 0x2 (most recent call first):",
        '  File "/thread.py", line 4 in run',
    ]


def test_stacks_end_where_pytest_calls_the_suite() -> None:
    stacks = """\
Current thread 0x1 (most recent call first):
  File "/test.py", line 1 in fixture
  File "/site-packages/_pytest/fixtures.py", line 2 in call_fixture_func
  File "/site-packages/pluggy/_callers.py", line 3 in _multicall"""
    within_pytest = """\
Current thread 0x1 (most recent call first):
  File "/site-packages/_pytest/fixtures.py", line 2 in getfixturevalue"""

    assert deaths.of_the_suite(stacks, "/ours.py").splitlines()[1:] == [
        '  File "/test.py", line 1 in fixture',
    ]
    assert deaths.of_the_suite(within_pytest, "/ours.py") == within_pytest


TEST = Inmate(pid=2, outer=12, command="pytest", is_main=True, rss=30 * MIB, pss=20 * MIB)
CHILD = Inmate(pid=3, outer=13, command="sh -c \n" + "x" * 200, is_main=False, rss=MIB)


def test_processes_are_a_table() -> None:
    assert deaths.processes(Scene(processes=(TEST, CHILD), killed=(TEST,))).splitlines() == [
        "pid       RSS       PSS  command",
        "  2  30.0 MiB  20.0 MiB  the test  <- killed by the kernel",
        "  3   1.0 MiB         ?  sh -c \\n" + "x" * 89 + "...",
    ]
    assert deaths.processes(Scene(processes=(CHILD,) * 25)).endswith("\nand 5 smaller ones")
    assert deaths.processes(Scene()) == ""


def test_killed_child_is_told_from_a_killed_test() -> None:
    assert deaths.killed(Scene(killed=(TEST,))) == "pid 2 (20.0 MiB): the test"
    assert deaths.killed(Scene(killed=(CHILD,))).endswith(
        "\nThe test itself was not killed; it fails for that all the same."
    )
    assert deaths.killed(Scene()) == ""
