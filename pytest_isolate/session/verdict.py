"""What is made of the end of a test's process: whether the test failed of it, and what is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import final

from pytest_isolate.child import ending
from pytest_isolate.child import exits
from pytest_isolate.child import program
from pytest_isolate.reporting import failures
from pytest_isolate.reporting.memory_plot import plot
from pytest_isolate.reporting.stacks import readable
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import Signaled

if TYPE_CHECKING:
    from pytest_isolate.reporting.failures import Death
    from pytest_isolate.reporting.memory_plot import Timeline
    from pytest_isolate.sandbox.supervise.execution import End
    from pytest_isolate.transfer.reports import When

#: What went wrong where a test process says what cannot be.
READING: Final = "read what the test process sent"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the process has told of itself, by its end."""

    entered: bool  #: that it is in its sandbox
    complete: bool  #: all its reports, or that the session is to end at once
    exiting: bool  #: that only Python's exit is left
    trouble: SandboxError | None  #: what cannot be, or that it cannot go on


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """What it has left, beside what it told."""

    output: dict[str, str]  #: printed and logged since its last report, by the stream's name
    stacks: str  #: of its threads, by faulthandler
    timeline: Timeline | None  #: its memory, if that is to be drawn


def death_of(end: End, told: Told) -> Death | None:
    """Return what failed the test of a process that has *told* so much, or `None`."""
    outcome, trouble = end.outcome, told.trouble
    if end.garbage:
        trouble = SandboxError(READING, end.garbage)
    elif end.said_bye and not told.complete and trouble is None:
        trouble = SandboxError(READING, "it left without a report of its teardown")
    if not told.entered and isinstance(outcome, Exited | Signaled):
        outcome = SetupFailed(SandboxError("enter sandbox", "the process did not get there"))
    exited = told.exiting and outcome == Exited(0)  # an exit function may leave at once
    return failures.death_of(
        outcome,
        complete=(end.said_bye or exited) and told.complete,
        trouble=trouble,
        exiting=told.exiting,
    )


def sections(end: End, remains: Remains, when: When, *, reported: bool) -> list[tuple[str, str]]:
    """Return the sections of the report of a death in the phase *when*.

    What was printed there is among them, if it is not *reported* already.
    """
    printed = {} if reported else remains.output
    stacks = readable(remains.stacks, program.__file__, ending.__file__, exits.__file__)
    return [
        *((f"Captured {name} {when}", text) for name, text in printed.items()),
        ("Stacks of all threads", stacks),
        *(failures.seen(end.snapshot, end.outcome) if end.snapshot is not None else ()),
        ("Figures", failures.figures(end.usage)),
    ]


def extras(end: End, timeline: Timeline | None) -> list[dict[str, Any]]:
    """Return what pytest-html shows of a death: its memory up to it, by *timeline*."""
    if timeline is None:
        return []
    peak, snapshot = end.usage.memory_peak or 0, end.snapshot
    if snapshot is not None and snapshot.seen is not None and not end.said_bye:
        timeline.end(snapshot.seen, min(peak, sum(snapshot.memory.values())))
    return [plot(timeline.points or [(0.0, peak)], end.usage)]
