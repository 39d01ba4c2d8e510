"""Reports to frames and back.

A report crosses as `pytest_report_to_serializable` makes it, and is made again by
`pytest_report_from_serializable`: what pytest and its plugins can serialize arrives, subtests
included. What JSON cannot hold is degraded, never a reason to fail the test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import Literal
from typing import TypeAlias
from typing import get_args

import pytest

from pytest_isolate import _compat

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_isolate.wire.frames import Json

When: TypeAlias = Literal["setup", "call", "teardown"]

#: Where our own additions travel: no plugin's report has such a key.
_OURS: Final = "$isolate"
_PHASES: Final = frozenset(get_args(When))
_OUTCOMES: Final = frozenset({"passed", "failed", "skipped"})
_EXACT: Final = (str, int, float, bool, type(None))
_DEEPEST: Final = 40  #: levels of a value that cross; pytest's own reach 9
#: What is left of texts that do not fit into one frame, in characters.
_TEXT_LIMIT: Final = 4 * 1024 * 1024
_SECTION_LIMIT: Final = 64 * 1024
_SECTIONS_LIMIT: Final = 64


class UnreadableReport(Exception):  # noqa: N818  # what happened: a test process said nonsense
    """What a test process sent as a report is none; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `pytest_report_teststatus` made of a report in the test process.

    The number of a test's failed subtests is known there only, and it is that hook which lets the
    test fail for them; so it is asked there, and what it changed is changed here when it is asked.
    """

    outcome: Literal["passed", "failed", "skipped"]
    longrepr: str


class PlainRepr:
    """A failure's representation that is no traceback of pytest's, as text."""

    def __init__(self, text: str, marked: str) -> None:
        self.text = text
        self.marked = marked  #: with the terminal's escape sequences

    def toterminal(self, out: Any) -> None:  # noqa: ANN401  # pytest's TerminalWriter is private
        """Write it to a terminal."""
        if out.hasmarkup:
            out.write_raw(self.marked)
        else:
            out.line(self.text)

    def __str__(self) -> str:
        """Return the text."""
        return self.text


# --- in the test process ---


def pack(config: pytest.Config, report: pytest.TestReport) -> Json:
    """Return *report* for the wire, and let its verdict be made."""
    data: Json | None = config.hook.pytest_report_to_serializable(config=config, report=report)
    if data is None:
        msg = f"no plugin can serialize a {type(report).__name__}"
        raise TypeError(msg)
    ours: Json = {}
    longrepr = report.longrepr
    if not isinstance(longrepr, str | tuple | None) and not isinstance(data["longrepr"], dict):
        data["longrepr"] = text = str(longrepr)
        ours["marked"] = _compat.render(longrepr) if hasattr(longrepr, "toterminal") else text
    if "user_properties" in data:
        data["user_properties"] = [
            [_exact(name), _exact(value)] for name, value in report.user_properties
        ]
    if data.get("$report_type") not in {None, "TestReport", "CollectReport"}:
        data["$report_type"] = "TestReport"  # a subclass that brought no serializer of its own
    before = report.outcome, report.longrepr
    config.hook.pytest_report_teststatus(report=report, config=config)
    if (report.outcome, report.longrepr) != before:
        ours["verdict"] = [report.outcome, str(report.longrepr)]
    return {**data, _OURS: ours} if ours else data


def _exact(value: object) -> object:
    """Return *value* if it comes back from JSON as what it is, and its text if not."""
    match value:
        case list():
            same = all(_exact(one) is one for one in value)
        case dict():
            same = all(type(key) is str and _exact(one) is one for key, one in value.items())
        case _:
            same = type(value) in _EXACT
    return value if same else describe(value, str)


def degrade(value: object, depth: int = 0) -> Any:  # noqa: ANN401  # JSON
    """Return *value* with whatever JSON cannot hold replaced by its `repr`."""
    match value:
        case dict() if depth < _DEEPEST:
            return {describe(key, str): degrade(one, depth + 1) for key, one in value.items()}
        case list() | tuple() if depth < _DEEPEST:
            return [degrade(one, depth + 1) for one in value]
        case str() | int() | float() | None:
            return value
        case _:
            return describe(value, repr)


def describe(value: object, how: Callable[[object], str]) -> str:
    """Return *value* as `str` or `repr` have it, whatever its class makes of that."""
    try:
        return how(value)
    except Exception as error:  # noqa: BLE001  # the test's own class, and it may raise anything
        return f"<{type(value).__name__}: {how.__name__} raised {type(error).__name__}>"


def cut(data: Json, longrepr: str) -> Json:
    """Return *data* small enough for one frame; *longrepr* is its failure's text."""
    texts = data.get("sections", [])[:_SECTIONS_LIMIT]
    kept = {
        key: value
        for key, value in data.items()
        if type(value) in _EXACT and len(str(value)) < _SECTION_LIMIT
    }
    return {
        **kept,
        "longrepr": shorten(longrepr, _TEXT_LIMIT) if longrepr else None,
        "sections": [[shorten(str(part), _SECTION_LIMIT) for part in text] for text in texts],
        "location": [shorten(str(part), _SECTION_LIMIT) for part in data.get("location", [])],
        "keywords": {},
        "user_properties": [],
    }


def shorten(text: str, limit: int) -> str:
    """Return *text* with its middle left out if it is longer than *limit*, and a note there."""
    if len(text) <= limit:
        return text
    half = limit // 2
    left_out = f"[{len(text) - 2 * half} characters are left out: the report was too large]"
    return f"{text[:half]}\n{left_out}\n{text[-half:]}"


# --- in the parent ---


def unpack(config: pytest.Config, data: Json) -> tuple[pytest.TestReport, Verdict | None]:
    """Return the report that `pack` packed, and its verdict if it made a difference.

    Raises `UnreadableReport` for what is none: a test can write what it likes.
    """
    data = dict(data)
    ours: Json = data.pop(_OURS, {})
    if not (
        isinstance(data.get("nodeid"), str)
        and str(data.get("when")) in _PHASES
        and str(data.get("outcome")) in _OUTCOMES
    ):
        msg = "a report has no node id, no phase or no outcome"
        raise UnreadableReport(msg)
    try:
        report = config.hook.pytest_report_from_serializable(config=config, data=data)
        _restore(report, ours)
        _restore_context(report, data)
        verdict = Verdict(*ours["verdict"]) if "verdict" in ours else None
    except (
        AssertionError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        msg = f"a report cannot be read: {type(error).__name__}: {error}"
        raise UnreadableReport(msg) from error
    return report, verdict


def _restore(report: pytest.TestReport, ours: Json) -> None:
    """Make tuples of what were tuples before JSON made lists of them: reporters rely on it."""
    report.sections = [(str(name), str(text)) for name, text in report.sections]
    report.user_properties = [(name, value) for name, value in report.user_properties]
    path, line, domain = report.location
    report.location = path, line, domain
    longrepr: object = report.longrepr
    if isinstance(longrepr, list):
        place, number, reason = longrepr
        report.longrepr = place, number, reason
    elif isinstance(longrepr, dict):
        msg = "its failure has no traceback"
        raise ValueError(msg)  # noqa: TRY004  # what was wrong is the report, not a type of ours
    elif "marked" in ours:
        report.longrepr = PlainRepr(str(longrepr), ours["marked"])  # type: ignore[assignment]


def _restore_context(report: pytest.TestReport, data: Json) -> None:
    """Undo what a subtest's report loses on its way: the `repr` of its values is taken again."""
    context = getattr(report, "context", None)
    match data:
        case {"_subtest.context": {"kwargs": dict(kwargs)}} if context is not None:
            object.__setattr__(context, "kwargs", kwargs)
        case _:
            pass


def is_main(report: pytest.TestReport) -> bool:
    """Return whether *report* is of a phase as a whole: a subtest's report is of its own class."""
    return type(report) is pytest.TestReport
