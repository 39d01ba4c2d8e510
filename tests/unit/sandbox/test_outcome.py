"""An end is judged by the wait status, the kernel's counters, and what the parent has done."""

from __future__ import annotations

import signal
from typing import Final

import pytest

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.outcome import EndedFor
from pytest_isolate.sandbox.outcome import Evidence
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.outcome import KernelDenied
from pytest_isolate.sandbox.outcome import MemoryExceeded
from pytest_isolate.sandbox.outcome import MemoryLimit
from pytest_isolate.sandbox.outcome import Outcome
from pytest_isolate.sandbox.outcome import OutOfMemory
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import Signaled
from pytest_isolate.sandbox.outcome import TimedOut
from pytest_isolate.sandbox.outcome import TimeLimit
from pytest_isolate.sandbox.outcome import classify

CAP: Final = 1000
KILLED: Final = int(signal.SIGKILL)
NO_KILL: Final = Evidence(oom_kills=0, limit_hits=0, memory_peak=400)
FULL: Final = Evidence(oom_kills=0, limit_hits=3, memory_peak=1010)
OOM_KILL: Final = Evidence(oom_kills=1, limit_hits=3, memory_peak=1010)
OUTER_KILL: Final = Evidence(oom_kills=1, limit_hits=0, memory_peak=400)


@pytest.mark.parametrize(
    ("status", "evidence", "ended_for", "outcome"),
    [
        (0, NO_KILL, None, Exited(0)),
        (3 << 8, Evidence(), None, Exited(3)),
        (KILLED, NO_KILL, None, Signaled(KILLED)),
        (KILLED, FULL, None, Signaled(KILLED)),
        (KILLED, OOM_KILL, None, OutOfMemory(CAP, CAP, outer=False)),
        (KILLED, OUTER_KILL, None, OutOfMemory(CAP, 400, outer=True)),
        # A child of it was killed, and it has gone on.
        (0, OOM_KILL, None, OutOfMemory(CAP, CAP, outer=False)),
        (KILLED, NO_KILL, TimeLimit(0.5), TimedOut(0.5)),
        (KILLED, OOM_KILL, TimeLimit(0.5), OutOfMemory(CAP, CAP, outer=False)),
        (KILLED, Evidence(), MemoryLimit(CAP, 1200), MemoryExceeded(CAP, 1200)),
        (KILLED, OOM_KILL, MemoryLimit(CAP, 1200), OutOfMemory(CAP, CAP, outer=False)),
        (KILLED, FULL, KernelDenied(), OutOfMemory(CAP, CAP, outer=False)),
        # The limit lies above the cap, and was not reached by what was denied.
        (1 << 8, NO_KILL, KernelDenied(), OutOfMemory(CAP, 400, outer=False)),
        (KILLED, OUTER_KILL, KernelDenied(), OutOfMemory(CAP, 400, outer=False)),
    ],
)
def test_end_is_named_by_what_cannot_be_forged(
    status: int, evidence: Evidence, ended_for: EndedFor | None, outcome: Outcome
) -> None:
    assert classify(status, evidence, memory_cap=CAP, ended_for=ended_for) == outcome


def test_who_never_came_in_has_failed_for_that_whatever_else_is_seen() -> None:
    error = SandboxError("enter sandbox", "no")

    found = classify(KILLED, OOM_KILL, memory_cap=CAP, ended_for=TimeLimit(1), setup_error=error)

    assert found == SetupFailed(error)
