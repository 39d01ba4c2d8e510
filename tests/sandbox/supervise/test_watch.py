"""A memory cap that is kept by looking: who is killed for what, and what is not held against it."""

from __future__ import annotations

import mmap
import os
import time
from typing import TYPE_CHECKING
from typing import Any

import pytest

from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.outcome import MemoryExceeded
from pytest_isolate.sandbox.outcome import TimedOut
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.supervise import execution

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_isolate.sandbox.pool import Pool
    from pytest_isolate.sandbox.supervise.execution import End
    from pytest_isolate.wire.channel import Writer

    Run = Callable[..., End]

pytestmark = pytest.mark.any_python

MIB = 1 << 20
CAP = 48 * MIB
PATIENCE = 30.0


@pytest.fixture(params=[pytest.param("whole", marks=pytest.mark.needs("sandbox")), "partial"])
def run(pool: Pool, request: pytest.FixtureRequest) -> Run:
    """Return a function that runs *main* in a sandbox whose memory is watched."""
    partial = request.param == "partial"

    def run(main: Callable[[Writer], None], **how: Any) -> End:
        sandbox = pool.acquire(Spec(watched=CAP, partial=partial))
        try:
            return execution.run(sandbox, Entry(cwd="/"), main, timeout=PATIENCE, **how)
        finally:
            sandbox.retire()

    return run


def take(size: int) -> bytearray:
    """Return memory of *size* bytes, touched."""
    taken = bytearray(size)
    for place in range(0, size, mmap.PAGESIZE):
        taken[place] = 1
    return taken


def linger(_: Writer) -> None:
    time.sleep(0.5)


def test_more_than_the_cap_is_seen_and_killed(run: Run) -> None:
    def hoard(_: Writer) -> None:
        taken = take(3 * CAP // 2)
        time.sleep(PATIENCE)
        del taken

    end = run(hoard)

    assert isinstance(end.outcome, MemoryExceeded)
    assert end.outcome.cap == CAP
    assert CAP < end.outcome.seen < 2 * CAP
    assert end.usage.memory_peak == end.outcome.seen
    assert end.usage.wall_seconds < PATIENCE / 2


def test_processes_count_together(run: Run) -> None:
    def spread(_: Writer) -> None:
        for _child in range(3):
            if os.fork() == 0:
                taken = take(CAP // 2)
                time.sleep(PATIENCE)
                del taken
                os._exit(0)
        time.sleep(PATIENCE)

    assert isinstance(run(spread).outcome, MemoryExceeded)


def test_orphans_count(run: Run) -> None:
    def abandon(_: Writer) -> None:
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            taken = take(3 * CAP // 2)
            time.sleep(PATIENCE)
            del taken
            os._exit(0)
        os.wait()
        time.sleep(PATIENCE)

    assert isinstance(run(abandon).outcome, MemoryExceeded)


def test_shared_memory_counts_once(run: Run) -> None:
    def share(_: Writer) -> None:
        start = time.monotonic()
        shared = mmap.mmap(-1, CAP // 2)
        for _piece in range(CAP // 2 // MIB):  # what is written from would count as well
            shared.write(b"x" * MIB)
        # A machine that writes slowly looks slowly, and the less often.
        pause = max(2.0, 10 * (time.monotonic() - start))
        for _child in range(3):
            if os.fork() == 0:
                shared[:: mmap.PAGESIZE]
                time.sleep(pause)
                os._exit(0)
        time.sleep(pause)

    end = run(share)

    assert end.outcome == Exited(0)
    assert end.usage.memory_peak is not None
    assert end.usage.memory_peak > CAP // 2


def test_what_the_fork_has_inherited_does_not_count(run: Run) -> None:
    inherited = take(4 * CAP)

    end = run(linger)

    assert end.outcome == Exited(0)
    assert end.usage.memory_peak is not None
    assert end.usage.memory_peak < CAP // 2
    del inherited


def test_processes_that_come_and_go_beside_a_look_take_nothing(run: Run) -> None:
    inherited = take(4 * CAP)

    def come_and_go(_: Writer) -> None:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)

    assert run(come_and_go).outcome == Exited(0)
    # What is shared is another's as soon as the test process itself has ended.
    ends = [run(lambda _, pause=pause: time.sleep(pause / 1000)) for pause in range(40)]
    assert {end.outcome for end in ends} == {Exited(0)}
    del inherited


def test_what_the_fork_has_inherited_counts_once_it_is_written_to(run: Run) -> None:
    inherited = take(2 * CAP)

    def overwrite(_: Writer) -> None:
        for place in range(0, len(inherited), mmap.PAGESIZE):
            inherited[place] = 2
        time.sleep(PATIENCE)

    assert isinstance(run(overwrite).outcome, MemoryExceeded)


def test_a_time_limit_stays_a_time_limit(pool: Pool) -> None:
    sandbox = pool.acquire(Spec(watched=CAP, partial=True))
    try:
        end = execution.run(sandbox, Entry(cwd="/"), lambda _: time.sleep(PATIENCE), timeout=0.5)
    finally:
        sandbox.retire()

    assert end.outcome == TimedOut(0.5)
