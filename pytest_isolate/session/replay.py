"""The parent's half of one isolated test: what its process says becomes pytest's hooks.

Reports are shown as they arrive, but for the teardown's, which waits for the figures. A death is
made into the report of the phase that ran; phases that had ended keep theirs.
"""

from __future__ import annotations

from contextlib import nullcontext
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import final

from pytest_isolate._compat import phases
from pytest_isolate._compat import terminal_reporter
from pytest_isolate.child import ending
from pytest_isolate.child import program
from pytest_isolate.reporting import failures
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.session import progress
from pytest_isolate.session import verdict
from pytest_isolate.session.audience import Audience
from pytest_isolate.session.obstacles import Obstacles
from pytest_isolate.session.showing import Showing
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
    from collections.abc import Callable

    import pytest

    from pytest_isolate.integrations.registry import Integrations
    from pytest_isolate.reporting.failures import Death
    from pytest_isolate.sandbox.outcome import Usage
    from pytest_isolate.sandbox.supervise.execution import End
    from pytest_isolate.session.verdict import Remains
    from pytest_isolate.transfer.reports import When
    from pytest_isolate.wire.frames import Frame
    from pytest_isolate.wire.frames import Json


@final
class Replay:
    """One item on its way through pytest's hooks: first heard, then judged or refused, then closed.

    *log* says whether reports of phases are shown, or left to the caller, *since* when its first
    phase began: with the wait for a sandbox.
    """

    def __init__(
        self,
        item: pytest.Item,
        integrations: Integrations,
        *,
        log: bool,
        since: float,
        audience: Audience | None = None,
        obstacles: Callable[[], Obstacles] = Obstacles,
    ) -> None:
        self.item = item
        self.threads: list[str] = []  #: that run on at the test's end
        self.left: list[str] = []  #: what is told of it at the session's end
        self.warnings: list[dict[str, Any]] = []  #: the hook's arguments
        self._integrations = integrations
        self._audience = audience or Audience()
        self._obstacles = obstacles  # asked for by failures only
        self._showing = Showing(item, log=log, attended=self._audience.attended)
        self._books = Books(item)
        self._state = progress.State.OUTSIDE
        self._since = since  #: when the phase began
        self._sent: list[pytest.TestReport] = []  #: of phases and subtests
        self._stops: list[Stop] = []
        self._trouble: SandboxError | None = None  #: what was wrong with what the process said
        self._tracebacks: list[str] = []  #: of what broke in it, and is no test's
        self._exiting = False  #: whether only Python's exit is left of the test
        self._death: Death | None = None

    @property
    def reports(self) -> list[pytest.TestReport]:
        """The reports of the phases, in order."""
        return self._showing.reports

    @property
    def has_failed(self) -> bool:
        """Whether a report of the test, or of a part of it, is that of a failure, by now."""
        return self._showing.has_failed or any(report.failed for report in self._sent)

    @property
    def _is_stopped(self) -> bool:
        """Whether the test ends the session at once."""
        return any(stop.kind in stop_requests.AT_ONCE for stop in self._stops)

    # --- what the test process says ---

    def hear(self, frame: Frame) -> None:
        """Take *frame* from the test process."""
        match frame:
            case Confined():
                self._state = progress.advance(self._state, progress.Step.ENTERED)
            case Phase(when=("setup" | "call" | "teardown") as when):
                step = progress.Step.TEARING_DOWN if when == "teardown" else progress.Step.BEGUN
                self._state = progress.advance(self._state, step)
                self._since = time.time()
                self._audience.debugger_closed()  # it is not told when a test is quit
            case Report(data=data):
                self._hear_report(data)
                self._audience.shown()
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
                self._tracebacks.append(str(data.get("traceback")))
            case program.DEBUGGER, {"on": True}:
                self._audience.debugger_opened()
            case program.DEBUGGER, {"on": False}:
                self._audience.debugger_closed()
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
                self._integrations.hear(self.item, name, data)

    def _hear_report(self, data: Json) -> None:
        try:
            report, notes = reports.unpack(self.item.config, data)
        except reports.UnreadableReport as error:
            self._trouble = SandboxError(verdict.READING, str(error))
            return
        if report.nodeid != self.item.nodeid and self._is_of_another(report):
            self._trouble = SandboxError(verdict.READING, f"a report is of {report.nodeid}")
            return
        if report.failed:
            self._obstacles().tell(report)
        self._sent.append(report)
        self._books.enter(notes, self._sent)
        if reports.is_main(report):
            self._hear_main(report)
        else:
            self._showing.show(report)
        if report.failed:
            self._audience.failed(report)

    def _is_of_another(self, report: pytest.TestReport) -> bool:
        """Return whether *report* bears the name of another test: hooks may give it a new one."""
        return any(item.nodeid == report.nodeid for item in self.item.session.items)

    def _hear_main(self, report: pytest.TestReport) -> None:
        self.item.user_properties[:] = report.user_properties
        setup_only = self.item.config.getoption("setuponly", default=False)
        step = progress.step_of(report.when, call_follows=report.passed and not setup_only)
        self._state = progress.advance(self._state, step)
        self._showing.take(report)

    def _hear_failure(self, data: Json) -> None:
        """Let plugins see the failure of the last report, when that was shown."""
        report = self._sent[-1]
        if data.get("shown"):
            terminal_reporter.note_shown_by_debugger(report)
        error = surrogates.of_chain(data.get("chain", ()))
        if error is not None:
            call = synthetic.call(report.when, error, place=data.get("place"))
            self._showing.let_see(report, call)

    def _hear_warning(self, frame: Warned) -> None:
        try:
            self.warnings.append(caught_warnings.unpack(frame))
        except (LookupError, TypeError, ValueError) as error:
            why = f"a warning cannot be read: {type(error).__name__}: {error}"
            self._trouble = SandboxError(verdict.READING, why)

    # --- what the parent says ---

    def judge(self, end: End, remains: Remains) -> None:
        """Judge how the test process ended: if that fails the test, make the reports of it."""
        reported = self._showing.held is not None
        told = verdict.Told(
            entered=self._state is not progress.State.OUTSIDE,
            complete=reported or self._is_stopped,
            exiting=self._exiting,
            trouble=self._trouble,
        )
        death = verdict.death_of(end, told)
        if death is None:
            return
        when = progress.PHASES[self._state]
        sections = [("Internal error", text) for text in self._tracebacks]
        sections += verdict.sections(end, remains, when, reported=reported)
        failed = self._die(death, when, sections, verdict.extras(end, remains.timeline))
        if failed.failed:
            self._audience.failed(failed)

    def refuse(self, error: SandboxError, *, skip: bool) -> None:
        """Let the test fail, or skip it, because its sandbox could not be had."""
        death = failures.isolation_failed(error)
        if skip:
            self._death = death
            self._showing.skip(death.text.replace("\n", ": "))
        else:
            sections = [("Internal error", text) for text in self._tracebacks]
            self._die(death, progress.PHASES[self._state], sections, [])

    def _die(
        self,
        death: Death,
        when: When,
        sections: list[tuple[str, str]],
        extras: list[dict[str, Any]],
    ) -> pytest.TestReport:
        """Make the report of the phase *when* that *death* ended, and those that are missing."""
        self._death = death
        last = self._showing.last
        with nullcontext() if death.ours else phases.expecting_failure(self.item):
            failed = self._showing.fail(when, death.text, self._since)
        failed.sections[:0] = last.sections if last is not None else []
        failed.sections += [(name, text) for name, text in sections if text]
        if extras:
            extras = [*getattr(failed, "extras", ()), *extras]
            failed.extras = extras  # type: ignore[attr-defined]  # pytest-html's
        if failed.failed and not death.ours:
            self._obstacles().tell(failed)
        self._showing.end(failed, when)
        return failed

    def close(self, nextitem: pytest.Item | None, usage: Usage) -> None:
        """Tear down what the parent has and *nextitem* does not need, and show the rest.

        *usage* are the figures of the test.
        """
        session, showing = self.item.session, self._showing
        if showing.held is not None:
            if session.shouldfail or session.shouldstop:
                nextitem = None
            held = showing.tear_down(nextitem, showing.held)
            if self.left:
                # As it is an attribute, pytest-xdist carries it to the process that tells it.
                held.isolate_left = self.left  # type: ignore[attr-defined]
            held.user_properties += failures.properties(usage, self._death)
            showing.add(held)

    def blame(self, text: str) -> None:
        """Let the test fail in its teardown because of *text*.

        Where it has failed there already, or had no chance to clean up, it is told only.
        """
        held = self._showing.held
        if held is None:
            return  # the session ends at once
        if held.failed or self._death is not None:
            self.note("Left behind", text)
            return
        failed = self._showing.fail("teardown", text)
        failed.sections[:] = held.sections
        failed.duration = held.duration
        self._showing.held = failed

    def note(self, name: str, text: str) -> None:
        """Add a section to the last report, which pytest shows of a failed test.

        It shows sections of a teardown's report that have the word in their name.
        """
        if self._showing.held is not None:
            self._showing.held.sections.append((f"{name} after teardown", text))

    def finish(self) -> None:
        """End the session if the test said so at once."""
        stop_requests.carry_out(self._stops)
