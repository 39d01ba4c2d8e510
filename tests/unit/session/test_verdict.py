"""A test fails of its process's end unless everything was told, and nothing that cannot be."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from pytest_isolate.reporting.memory_plot import Timeline
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.outcome import Outcome
from pytest_isolate.sandbox.outcome import Signaled
from pytest_isolate.sandbox.outcome import Usage
from pytest_isolate.sandbox.supervise.execution import End
from pytest_isolate.sandbox.supervise.snapshot import Snapshot
from pytest_isolate.session.verdict import Remains
from pytest_isolate.session.verdict import Told
from pytest_isolate.session.verdict import death_of
from pytest_isolate.session.verdict import extras
from pytest_isolate.session.verdict import sections
from pytest_isolate.wire.real_os import RealOS

WELL: Final = End(
    outcome=Exited(0),
    usage=Usage(wall_seconds=1.0),
    said_bye=True,
    garbage="",
    snapshot=None,
)
CUT: Final = replace(WELL, said_bye=False)
ALL: Final = Told(entered=True, complete=True, exiting=False, trouble=None)
REMAINS: Final = Remains(output={"stdout": "said", "log": ""}, stacks="", timeline=None)


def line(end: End, told: Told) -> str | None:
    death = death_of(end, told)
    return None if death is None else death.line


def test_a_process_that_told_everything_is_no_death() -> None:
    assert line(WELL, ALL) is None


def test_a_goodbye_without_all_reports_is_one() -> None:
    assert line(WELL, replace(ALL, complete=False)) == (
        "Isolation failed: read what the test process sent:"
        " it left without a report of its teardown"
    )


def test_what_cannot_be_read_is_one_though_all_was_told() -> None:
    assert line(replace(WELL, garbage="it is no frame"), ALL) == (
        "Isolation failed: read what the test process sent: it is no frame"
    )
    broken = replace(ALL, trouble=SandboxError("run pytest's hooks", "oh"))
    assert line(WELL, broken) == "Isolation failed: run pytest's hooks: oh"


def test_an_exit_function_may_leave_at_once_but_not_with_another_status() -> None:
    exiting = replace(ALL, exiting=True)

    assert line(CUT, ALL) == "Exited: left with status 0 before its report"
    assert line(CUT, exiting) is None
    assert line(replace(CUT, outcome=Exited(3)), exiting) == (
        "Exited: left with status 3 at its exit"
    )


@pytest.mark.parametrize("outcome", [Exited(1), Signaled(9)])
def test_who_did_not_get_into_the_sandbox_has_not_failed_by_itself(outcome: Outcome) -> None:
    outside = Told(entered=False, complete=False, exiting=False, trouble=None)

    assert line(replace(CUT, outcome=outcome), outside) == (
        "Isolation failed: enter sandbox: the process did not get there"
    )


def test_what_was_printed_is_told_once() -> None:
    assert ("Captured stdout call", "said") in sections(CUT, REMAINS, "call", reported=False)
    names = [name for name, _ in sections(CUT, REMAINS, "teardown", reported=True)]
    assert names == ["Stacks of all threads", "Figures"]


def test_memory_is_drawn_to_the_moment_that_was_looked_at() -> None:
    timeline = Timeline(lambda: 0)
    timeline.points = [(0.0, 1), (5000.0, 2)]
    usage = Usage(wall_seconds=1.0, memory_peak=5)
    snapshot = Snapshot(memory={"anonymous": 9}, seen=RealOS.monotonic() + 1000)

    assert extras(CUT, None) == []
    (plot,) = extras(replace(CUT, usage=usage, snapshot=snapshot), timeline)
    assert "isolate-memory" in plot["content"]
    assert [memory for _, memory in timeline.points] == [1, 5]
