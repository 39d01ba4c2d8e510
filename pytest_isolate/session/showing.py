"""The reports of one item's phases, shown in order; the teardown's is held for the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import final

import pytest

from pytest_isolate._compat import teardown
from pytest_isolate.transfer import synthetic

if TYPE_CHECKING:
    from pytest_isolate.transfer.reports import When


@final
class Showing:
    """What pytest's hooks are told of one item: *log* says whether of its phases as well.

    Where somebody looks at failures at once, *attended*, a teardown's failure is shown to them
    before the figures are there.
    """

    def __init__(self, item: pytest.Item, *, log: bool, attended: bool) -> None:
        self.reports: list[pytest.TestReport] = []  #: of phases, in order, all but the held one
        self.held: pytest.TestReport | None = None  #: the teardown's
        self._item = item
        self._log = log
        self._attended = attended
        self._early: pytest.TestReport | None = None  #: a teardown's that was shown while held
        #: What left the phases of reports, by their `id`: told to plugins when these are shown.
        self._calls: dict[int, pytest.CallInfo[None]] = {}

    @property
    def has_failed(self) -> bool:
        """Whether one of the reports is that of a failure, by now."""
        held = [] if self.held is None else [self.held]
        return any(report.failed for report in (*self.reports, *held))

    @property
    def last(self) -> pytest.TestReport | None:
        """The last report that there is, by now."""
        return self.held or (self.reports[-1] if self.reports else None)

    def take(self, report: pytest.TestReport) -> None:
        """Take the *report* of a phase that has ended."""
        if self.held is not None:
            self._overtake(self.held, report)
        if report.when != "teardown":
            self.add(report)
            return
        self.held = report
        if self._attended and report.failed and self._log:
            self.show(report)
            self._early = report

    def _overtake(self, held: pytest.TestReport, report: pytest.TestReport) -> None:
        """Show the report *held*, or let *report* of the same teardown's very end stand for it."""
        self.held = None
        if report.when == "teardown" and held.passed:
            report.duration += held.duration
        else:
            self.add(held)

    def add(self, report: pytest.TestReport) -> None:
        """Show *report*, the next of a phase."""
        self.reports.append(report)
        if self._log and report is not self._early:
            self.show(report)
        self._interact(report)

    def show(self, report: pytest.TestReport) -> None:
        """Show *report*, of a phase or of a part of one."""
        self._item.ihook.pytest_runtest_logreport(report=report)

    def let_see(self, report: pytest.TestReport, call: pytest.CallInfo[None]) -> None:
        """Let plugins see the failure that *call* ended in, if *report* of it was shown."""
        self._calls[id(report)] = call
        if report is not self.held:
            self._interact(report)

    def _interact(self, report: pytest.TestReport) -> None:
        """Call the hook of who looks at failures, an IDE for one, as pytest does."""
        call = self._calls.pop(id(report), None)
        if call is not None:
            synthetic.interact(self._item, call, report)

    def fail(self, when: When, text: str, since: float | None = None) -> pytest.TestReport:
        """Return the report of a failure that no exception has left, to be shown later."""
        failed = synthetic.fail(self._item, when, text, since)
        if failed.failed:
            error = pytest.fail.Exception(text, pytrace=False)
            self._calls[id(failed)] = synthetic.call(when, error, since)
        return failed

    def end(self, failed: pytest.TestReport, when: When) -> None:
        """Let *failed* be the report of the phase *when*, the last that ran; make the missing."""
        earlier, self.held = self.held, None
        if earlier is not None and earlier.failed:
            self.add(earlier)
        if when == "teardown":
            self.held = failed
        else:
            self.add(failed)
            self.held = synthetic.make(self._item, "teardown", None)
            self.held.sections[:] = failed.sections

    def skip(self, reason: str) -> None:
        """Let the test be skipped in its setup because of *reason*."""
        skipped = pytest.skip.Exception(reason, _use_item_location=True)
        self.add(synthetic.make(self._item, "setup", skipped))
        self.held = synthetic.make(self._item, "teardown", None)

    def tear_down(self, nextitem: pytest.Item | None, held: pytest.TestReport) -> pytest.TestReport:
        """Tear down what this process has and *nextitem* does not need; return the last report.

        That is *held*, or where something goes wrong here, one that stands for it.
        """
        torn = teardown.tear_down(self._item, nextitem)
        if torn is None:
            return held
        call, sections = torn.call, torn.sections
        if call.excinfo is None:
            held.sections += sections
            held.duration += call.duration
            return held
        failed: pytest.TestReport = self._item.ihook.pytest_runtest_makereport(
            item=self._item, call=call
        )
        failed.sections = [*held.sections, *sections]
        if held.failed:
            self.add(held)
        self.held = failed
        return failed
