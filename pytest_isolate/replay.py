"""The parent's half of one isolated test: what its process says becomes pytest's hooks.

Reports are shown as they arrive, but for the teardown's, which waits for the figures. A death is
made into the report of the phase that ran; phases that had ended keep theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import time
from types import FunctionType
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import NoReturn
from typing import final

import pytest

from pytest_isolate import _compat
from pytest_isolate import ledger
from pytest_isolate import reports
from pytest_isolate import warned
from pytest_isolate.child import BROKEN
from pytest_isolate.wire.frames import Event
from pytest_isolate.wire.frames import Phase
from pytest_isolate.wire.frames import Report
from pytest_isolate.wire.frames import Stop
from pytest_isolate.wire.frames import Warned

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_isolate.child import Tap
    from pytest_isolate.deaths import Death
    from pytest_isolate.reports import When
    from pytest_isolate.wire.frames import Frame
    from pytest_isolate.wire.frames import Json

#: Stops of the session that end the test at once, without its remaining reports.
_AT_ONCE: Final = ("exit", "interrupt")


@final
@dataclass(slots=True, kw_only=True)
class Replay:
    """One item on its way through pytest's hooks."""

    item: pytest.Item
    tap: Tap
    log: bool  #: whether reports of phases are shown, or left to the caller
    shown: Callable[[], None] = lambda: None  #: tells the test process that its report was
    trouble: str = ""  #: what was wrong with what the test process said
    sections: list[tuple[str, str]] = field(default_factory=list)  #: for a death's report
    reports: list[pytest.TestReport] = field(default_factory=list)  #: of phases, in order
    _phase: When = "setup"
    _since: float = field(default_factory=time.time)
    _held: pytest.TestReport | None = None  #: the teardown's
    _stops: list[Stop] = field(default_factory=list)
    _warnings: list[dict[str, Any]] = field(default_factory=list)  #: the hook's arguments

    @property
    def complete(self) -> bool:
        """Whether nothing more was to come than what has."""
        return self._held is not None or any(stop.kind in _AT_ONCE for stop in self._stops)

    # --- what the test process says ---

    def hear(self, frame: Frame) -> None:
        """Take *frame* from the test process."""
        match frame:
            case Phase(when=("setup" | "call" | "teardown") as when):
                self._phase = when
                self._since = time.time()
            case Report(data=data):
                self._hear_report(data)
                self.shown()
            case Warned():
                self._hear_warning(frame)
            case Stop(kind=kind, reason=reason):
                self._stops.append(frame)
                if kind not in _AT_ONCE and not getattr(self.item.session, kind, True):
                    setattr(self.item.session, kind, reason)
            case Event(name, data) if name == BROKEN:
                self.trouble = str(data.get("error"))
                self.sections.append(("Internal error", str(data.get("traceback"))))
            case Event(name, data):
                ledger.enter(self.item, name, data)
            case _:
                pass

    def _hear_report(self, data: Json) -> None:
        try:
            report, verdict = reports.unpack(self.item.config, data)
        except reports.UnreadableReport as error:
            self.trouble = str(error)
            return
        if verdict is not None:
            self.tap.verdicts[id(report)] = verdict
        if not reports.is_main(report):
            self._show(report)
            return
        self.item.user_properties[:] = report.user_properties
        if self._held is not None:
            self._add(self._held)
            self._held = None
        if report.when == "teardown":
            self._held = report
        else:
            self._add(report)

    def _hear_warning(self, frame: Warned) -> None:
        try:
            self._warnings.append(warned.unpack(frame))
        except (LookupError, TypeError, ValueError) as error:
            self.trouble = f"a warning cannot be read: {type(error).__name__}: {error}"

    def _add(self, report: pytest.TestReport) -> None:
        self.reports.append(report)
        if self.log:
            self._show(report)

    def _show(self, report: pytest.TestReport) -> None:
        self.item.ihook.pytest_runtest_logreport(report=report)

    # --- what the parent says ---

    def refuse(self, death: Death, *, skip: bool) -> None:
        """Let the setup fail, or skip the test, because its sandbox could not be had."""
        if skip:
            reason = death.text.replace("\n", ": ")
            self._add(self._make("setup", pytest.skip.Exception(reason, _use_item_location=True)))
            self._held = self._make("teardown", None)
        else:
            self.die(death)

    def die(self, death: Death) -> None:
        """Make the report of the phase that *death* ended, and those that are missing."""
        when = self._dying()
        earlier = self._held
        self._held = None
        last = earlier or (self.reports[-1] if self.reports else None)
        failed = self._make(when, pytest.fail.Exception(death.text, pytrace=False), death)
        failed.sections[:0] = last.sections if last else []
        failed.sections += self.sections
        if earlier is not None and earlier.failed:
            self._add(earlier)
        if when == "teardown":
            self._held = failed
        else:
            self._add(failed)
            self._held = self._make("teardown", None)
            self._held.sections[:] = failed.sections

    def _dying(self) -> When:
        """Return the phase that has begun and has no report yet."""
        ended = {report.when: report for report in self.reports}
        if "setup" not in ended:
            return "setup"
        setup_only = self.item.config.getoption("setuponly", default=False)
        if not ended["setup"].passed or setup_only or "call" in ended or self._held:
            return "teardown"
        return "teardown" if self._phase == "teardown" else "call"

    def _make(
        self, when: When, error: BaseException | None, death: Death | None = None
    ) -> pytest.TestReport:
        """Return the report that pytest's hook makes of a phase that ended with *error*."""

        def end() -> None:
            if error is not None:
                raise error

        call = pytest.CallInfo.from_call(end, when=when)
        if death is not None:
            call.start, call.duration = self._since, call.stop - self._since
        if death is not None and not death.ours:
            _compat.expect_failure(self.item)
        report: pytest.TestReport = self.item.ihook.pytest_runtest_makereport(
            item=self.item, call=call
        )
        _compat.expect_success(self.item)
        return report

    def close(self, nextitem: pytest.Item | None, figures: list[tuple[str, object]]) -> None:
        """Tear down what the parent has and *nextitem* does not need, and show the rest."""
        session = self.item.session
        if self._held is not None:
            if session.shouldfail or session.shouldstop:
                nextitem = None
            self._tear_down(nextitem, self._held)
            self._held.user_properties.extend(figures)
            self._add(self._held)
        for arguments in self._warnings:
            self.item.ihook.pytest_warning_recorded.call_historic(kwargs=arguments)

    def _tear_down(self, nextitem: pytest.Item | None, held: pytest.TestReport) -> None:
        torn = _compat.tear_down(self.item, nextitem)
        if torn is None:
            return
        call, sections = torn
        if call.excinfo is None:
            held.sections += sections
            held.duration += call.duration
            return
        report = self.item.ihook.pytest_runtest_makereport(item=self.item, call=call)
        report.sections = [*held.sections, *sections]
        if held.failed:
            self._add(held)
        self._held = report

    def stop(self) -> None:
        """End the session if the test said so at once."""
        for stop in self._stops:
            match stop:
                case Stop(kind="exit", reason=reason, returncode=returncode):
                    raise pytest.exit.Exception(reason, returncode)
                case Stop(kind="interrupt", reason=place):
                    _interrupt(place)
                case _:
                    pass


def _interrupt(place: str) -> NoReturn:
    """Raise KeyboardInterrupt as if at *place*, `path:line`: pytest tells the user where it was."""
    path, _, line = place.rpartition(":")
    number = int(line) if line.isdecimal() else 1
    # Line numbers in a code object are relative to its first one; the body comes one line later.
    code = _raise_interrupt.__code__.replace(co_filename=path, co_firstlineno=number - 1)
    FunctionType(code, {})()
    raise KeyboardInterrupt


def _raise_interrupt() -> NoReturn:
    raise KeyboardInterrupt
