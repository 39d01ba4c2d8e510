"""The parent's half of one isolated test: what its process says becomes pytest's hooks.

Reports are shown as they arrive, but for the teardown's, which waits for the figures. A death is
made into the report of the phase that ran; phases that had ended keep theirs.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import field
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import final

import pytest

from pytest_isolate._compat import phases
from pytest_isolate._compat import teardown
from pytest_isolate._compat import terminal_reporter
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
from pytest_isolate.session.audience import Audience
from pytest_isolate.session.obstacles import Obstacles
from pytest_isolate.transfer import caught_warnings
from pytest_isolate.transfer import reports
from pytest_isolate.transfer import session_state
from pytest_isolate.transfer import stop_requests
from pytest_isolate.transfer import surrogates
from pytest_isolate.transfer import synthetic
from pytest_isolate.transfer.notes.entries import Books
from pytest_isolate.wire.frames import Confined
from pytest_isolate.wire.frames import Event
from pytest_isolate.wire.frames import Phase
from pytest_isolate.wire.frames import Report
from pytest_isolate.wire.frames import Stop
from pytest_isolate.wire.frames import Warned

if TYPE_CHECKING:
    from pytest_isolate.integrations.registry import Integrations
    from pytest_isolate.reporting.failures import Death
    from pytest_isolate.reporting.memory_plot import Timeline
    from pytest_isolate.sandbox.outcome import Usage
    from pytest_isolate.sandbox.supervise.execution import End
    from pytest_isolate.transfer.reports import When
    from pytest_isolate.wire.frames import Frame
    from pytest_isolate.wire.frames import Json

_READING: Final = "read what the test process sent"


@final
@dataclass(slots=True, kw_only=True)
class Replay:
    """One item on its way through pytest's hooks."""

    item: pytest.Item
    integrations: Integrations
    log: bool  #: whether reports of phases are shown, or left to the caller
    audience: Audience = field(default_factory=Audience)
    reports: list[pytest.TestReport] = field(default_factory=list)  #: of phases, in order
    threads: list[str] = field(default_factory=list)  #: that run on at the test's end
    left: list[str] = field(default_factory=list)  #: what is told of it at the session's end
    obstacles: Obstacles = field(default_factory=Obstacles)  #: what its sandbox lacks
    _books: Books = field(init=False)
    _sent: list[pytest.TestReport] = field(default_factory=list)  #: of phases and subtests
    #: What left the phases of reports, by their `id`: told to plugins when the report was shown.
    _calls: dict[int, pytest.CallInfo[None]] = field(default_factory=dict)
    _trouble: SandboxError | None = None  #: what was wrong with what the test process said
    _sections: list[tuple[str, str]] = field(default_factory=list)  #: for a death's report
    _extras: list[dict[str, Any]] = field(default_factory=list)  #: for pytest-html's page
    _death: Death | None = None
    _part_failed: bool = False  #: whether a subtest has
    _exiting: bool = False  #: whether only Python's exit is left of the test
    _confined: bool = False  #: whether the test process has entered its sandbox
    _phase: When = "setup"
    _since: float = field(default_factory=time.time)
    _held: pytest.TestReport | None = None  #: the teardown's
    _early: pytest.TestReport | None = None  #: the teardown's, if it was shown without figures
    _stops: list[Stop] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)  #: the hook's arguments

    def __post_init__(self) -> None:
        """Open the books."""
        self._books = Books(self.item)

    @property
    def stopped(self) -> bool:
        """Whether the test ends the session at once."""
        return any(stop.kind in stop_requests.AT_ONCE for stop in self._stops)

    # --- what the test process says ---

    def hear(self, frame: Frame) -> None:
        """Take *frame* from the test process."""
        match frame:
            case Confined():
                self._confined = True
            case Phase(when=("setup" | "call" | "teardown") as when):
                self._phase = when
                self._since = time.time()
                self.audience.debugger_closed()  # it is not told when a test is quit
            case Report(data=data):
                self._hear_report(data)
                self.audience.shown()
            case Warned():
                self._hear_warning(frame)
            case Stop(kind=kind, reason=reason):
                self._stops.append(frame)
                if kind in stop_requests.AFTERWARDS and not getattr(self.item.session, kind):
                    setattr(self.item.session, kind, reason)
            case Event(name, data):
                self._hear_event(name, data)
            case _:
                pass

    def _hear_event(self, name: str, data: Json) -> None:
        match name, data:
            case program.BROKEN, _:
                self._trouble = SandboxError("run pytest's hooks", str(data.get("error")))
                self._sections.append(("Internal error", str(data.get("traceback"))))
            case program.DEBUGGER, {"on": True}:
                self.audience.debugger_opened()
            case program.DEBUGGER, {"on": False}:
                self.audience.debugger_closed()
            case program.INTERACT, _ if self._sent:
                self._hear_failure(data)
            case program.NOTES, {"notes": notes}:
                self._books.enter(notes, self._sent)
            case ending.EXITING, _:
                self._exiting = True
            case program.THREADS, {"names": list(names)}:
                self.threads = [str(name) for name in names]
            case _:
                session_state.enter(self.item, name, data)
                self.integrations.hear(self.item, name, data)

    def _hear_report(self, data: Json) -> None:
        try:
            report, notes = reports.unpack(self.item.config, data)
        except reports.UnreadableReport as error:
            self._trouble = SandboxError(_READING, str(error))
            return
        if report.nodeid != self.item.nodeid and self._is_of_another(report):
            self._trouble = SandboxError(_READING, f"a report is of {report.nodeid}")
            return
        if report.failed:
            self.obstacles.tell(report)
        self._sent.append(report)
        self._books.enter(notes, self._sent)
        if reports.is_main(report):
            self._hear_main(report)
        else:
            self._part_failed |= report.failed
            self._show(report)
        if report.failed:
            self.audience.failed(report)

    def _is_of_another(self, report: pytest.TestReport) -> bool:
        """Return whether *report* bears the name of another test: hooks may give it a new one."""
        return any(item.nodeid == report.nodeid for item in self.item.session.items)

    def _hear_failure(self, data: Json) -> None:
        """Let plugins see the failure of the last report, when that was shown."""
        report = self._sent[-1]
        if data.get("shown"):
            terminal_reporter.note_shown_by_debugger(report)
        error = surrogates.of_chain(data.get("chain", ()))
        if error is None:
            return
        self._calls[id(report)] = synthetic.call(report.when, error, place=data.get("place"))
        if report is not self._held:
            self._interact(report)

    def _interact(self, report: pytest.TestReport) -> None:
        """Call the hook of who looks at failures, an IDE for one, as pytest does."""
        call = self._calls.pop(id(report), None)
        if call is not None:
            synthetic.interact(self.item, call, report)

    def _hear_main(self, report: pytest.TestReport) -> None:
        self.item.user_properties[:] = report.user_properties
        if self._held is not None:
            self._overtake(self._held, report)
        if report.when != "teardown":
            self._add(report)
            return
        self._held = report
        if self.audience.attended and report.failed and self.log:
            self._show(report)
            self._early = report

    def _overtake(self, held: pytest.TestReport, report: pytest.TestReport) -> None:
        """Show the report *held*, or let *report* of the same teardown's very end stand for it."""
        self._held = None
        if report.when == "teardown" and held.passed:
            report.duration += held.duration
        else:
            self._add(held)

    def _hear_warning(self, frame: Warned) -> None:
        try:
            self.warnings.append(caught_warnings.unpack(frame))
        except (LookupError, TypeError, ValueError) as error:
            why = f"a warning cannot be read: {type(error).__name__}: {error}"
            self._trouble = SandboxError(_READING, why)

    def _add(self, report: pytest.TestReport) -> None:
        self.reports.append(report)
        if self.log and report is not self._early:
            self._show(report)
        self._interact(report)

    def _show(self, report: pytest.TestReport) -> None:
        self.item.ihook.pytest_runtest_logreport(report=report)

    # --- what the parent says ---

    def judge(
        self,
        end: End,
        *,
        output: dict[str, str],
        stacks: str,
        timeline: Timeline | None = None,
    ) -> None:
        """Judge how the test process ended: if that fails the test, make the reports of it.

        *output* is what it had printed since its last report, *stacks* what it left of its
        threads' stacks, *timeline* its memory if that is to be drawn.
        """
        ended = self._held is not None or self.stopped
        if end.garbage:
            self._trouble = SandboxError(_READING, end.garbage)
        elif end.said_bye and not ended and self._trouble is None:
            self._trouble = SandboxError(_READING, "it left without a report of its teardown")
        outcome = end.outcome
        if not self._confined and isinstance(outcome, Exited | Signaled):
            outcome = SetupFailed(SandboxError("enter sandbox", "the process did not get there"))
        exited = self._exiting and outcome == Exited(0)  # an exit function may leave at once
        death = failures.death_of(
            outcome,
            complete=(end.said_bye or exited) and ended,
            trouble=self._trouble,
            exiting=self._exiting,
        )
        if death is None:
            return
        when = self._dying()
        if self._held is None:
            self._sections += [(f"Captured {name} {when}", text) for name, text in output.items()]
        self._sections.append((
            "Stacks of all threads",
            readable(stacks, program.__file__, ending.__file__, exits.__file__),
        ))
        if end.snapshot is not None:
            self._sections += failures.seen(end.snapshot, outcome)
        self._sections.append(("Figures", failures.figures(end.usage)))
        if timeline is not None:
            self._draw(timeline, end)
        failed = self._die(death, when)
        if failed.failed:
            self.audience.failed(failed)

    def _draw(self, timeline: Timeline, end: End) -> None:
        peak, snapshot = end.usage.memory_peak or 0, end.snapshot
        if snapshot is not None and snapshot.seen is not None and not end.said_bye:
            timeline.end(snapshot.seen, min(peak, sum(snapshot.memory.values())))
        self._extras.append(plot(timeline.points or [(0.0, peak)], end.usage))

    def refuse(self, error: SandboxError, *, skip: bool) -> None:
        """Let the test fail, or skip it, because its sandbox could not be had."""
        death = failures.isolation_failed(error)
        if skip:
            self._death = death
            reason = death.text.replace("\n", ": ")
            self._add(
                synthetic.make(
                    self.item, "setup", pytest.skip.Exception(reason, _use_item_location=True)
                )
            )
            self._held = synthetic.make(self.item, "teardown", None)
        else:
            self._die(death, self._dying())

    def _die(self, death: Death, when: When) -> pytest.TestReport:
        """Make the report of the phase *when* that *death* ended, and those that are missing."""
        self._death = death
        earlier, self._held = self._held, None
        last = earlier or (self.reports[-1] if self.reports else None)
        with nullcontext() if death.ours else phases.expecting_failure(self.item):
            failed = self._fail(when, death.text, self._since)
        failed.sections[:0] = last.sections if last is not None else []
        if self._extras:
            extras = [*getattr(failed, "extras", ()), *self._extras]
            failed.extras = extras  # type: ignore[attr-defined]  # pytest-html's
        failed.sections += [(name, text) for name, text in self._sections if text]
        if failed.failed and not death.ours:
            self.obstacles.tell(failed)
        if earlier is not None and earlier.failed:
            self._add(earlier)
        if when == "teardown":
            self._held = failed
        else:
            self._add(failed)
            self._held = synthetic.make(self.item, "teardown", None)
            self._held.sections[:] = failed.sections
        return failed

    def _fail(self, when: When, text: str, since: float | None = None) -> pytest.TestReport:
        """Return the report of a failure that no exception has left."""
        failed = synthetic.fail(self.item, when, text, since)
        if failed.failed:
            error = pytest.fail.Exception(text, pytrace=False)
            self._calls[id(failed)] = synthetic.call(when, error, since)
        return failed

    def _dying(self) -> When:
        """Return the phase that has begun and has no report yet."""
        ended = {report.when: report for report in self.reports}
        if "setup" not in ended:
            return "setup"
        setup_only = self.item.config.getoption("setuponly", default=False)
        if not ended["setup"].passed or setup_only or "call" in ended or self._held:
            return "teardown"
        return "teardown" if self._phase == "teardown" else "call"

    def close(self, nextitem: pytest.Item | None, usage: Usage) -> None:
        """Tear down what the parent has and *nextitem* does not need, and show the rest.

        *usage* are the figures of the test.
        """
        session = self.item.session
        if self._held is not None:
            if session.shouldfail or session.shouldstop:
                nextitem = None
            self._tear_down(nextitem, self._held)
            if self.left:
                # As it is an attribute, pytest-xdist carries it to the process that tells it.
                self._held.isolate_left = self.left  # type: ignore[attr-defined]
            self._held.user_properties += failures.properties(usage, self._death)
            self._add(self._held)

    def blame(self, text: str) -> None:
        """Let the test fail in its teardown because of *text*.

        Where it has failed there already, or had no chance to clean up, it is told only.
        """
        held = self._held
        if held is None:
            return  # the session ends at once
        if held.failed or self._death is not None:
            self.note("Left behind", text)
            return
        failed = self._fail("teardown", text)
        failed.sections[:] = held.sections
        failed.duration = held.duration
        self._held = failed

    @property
    def has_failed(self) -> bool:
        """Whether a report of the test is that of a failure, by now."""
        held = [] if self._held is None else [self._held]
        return self._part_failed or any(report.failed for report in (*self.reports, *held))

    def note(self, name: str, text: str) -> None:
        """Add a section to the last report, which pytest shows of a failed test.

        It shows sections of a teardown's report that have the word in their name.
        """
        if self._held is not None:
            self._held.sections.append((f"{name} after teardown", text))

    def _tear_down(self, nextitem: pytest.Item | None, held: pytest.TestReport) -> None:
        torn = teardown.tear_down(self.item, nextitem)
        if torn is None:
            return
        if torn.call.excinfo is None:
            held.sections += torn.sections
            held.duration += torn.call.duration
            return
        report = self.item.ihook.pytest_runtest_makereport(item=self.item, call=torn.call)
        report.sections = [*held.sections, *torn.sections]
        if held.failed:
            self._add(held)
        self._held = report

    def finish(self) -> None:
        """End the session if the test said so at once."""
        stop_requests.carry_out(self._stops)
