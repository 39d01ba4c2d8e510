"""Reports to frames and back.

A report crosses as `pytest_report_to_serializable` makes it, and is made again by
`pytest_report_from_serializable`: what pytest and its plugins can serialize arrives, subtests
included. What plugins add to it arrives as what it was; of objects their text, never a reason to
fail the test.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import Literal
from typing import TypeAlias
from typing import get_args

import pytest

from pytest_isolate._compat import terminal_reporter
from pytest_isolate.transfer.untouched import untouched
from pytest_isolate.wire.typed import KIND
from pytest_isolate.wire.typed import Packer
from pytest_isolate.wire.typed import Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from pytest_isolate.wire.frames import Json

When: TypeAlias = Literal["setup", "call", "teardown"]

#: Where our own additions travel: no plugin's report has such a key.
_OURS: Final = "$isolate"
_PHASES: Final = frozenset(get_args(When))
#: What pytest itself writes: it has made JSON of that already.
_PYTESTS: Final = frozenset({
    *("$report_type", "_report_type", "nodeid", "_nodeid", "location", "keywords", "outcome"),
    *("longrepr", "when", "sections", "duration", "start", "stop", "_subtest.context"),
})
_EXACT: Final = (str, int, float, bool, type(None))
_PAIR: Final = 2
_LONGEST: Final = 1e12  #: seconds, of a time of day as well
_DEEPEST: Final = 40  #: levels of a value that cross; pytest's own reach 9
#: What is left of texts that do not fit into one frame, in characters.
_TEXT_LIMIT: Final = 4 * 1024 * 1024
_SECTION_LIMIT: Final = 64 * 1024
_SECTIONS_LIMIT: Final = 64


class UnreadableReport(Exception):  # noqa: N818  # what happened: a test process said nonsense
    """What a test process sent as a report is none; the message says why, in one line."""


class PlainRepr:
    """A failure's representation that is no traceback of pytest's, as text."""

    def __init__(self, text: str, marked: str) -> None:
        self.text = text
        self.marked = marked  #: with the terminal's escape sequences

    def toterminal(self, out: Any) -> None:  # noqa: ANN401  # pytest's TerminalWriter is private
        """Write it to a terminal."""
        if out.hasmarkup:
            # pytest 9's `write` would take its escape sequences apart.
            getattr(out, "write_raw", out.write)(self.marked)
        else:
            out.line(self.text)

    def __str__(self) -> str:
        """Return the text."""
        return self.text


# --- in the test process ---


def pack(config: pytest.Config, report: pytest.TestReport, notes: Sequence[Json] = ()) -> Json:
    """Return *report* for the wire; *notes* are what plugins have noted with it."""
    # A look at what the test has replaced costs page faults, and only a failure needs it.
    with nullcontext() if report.longrepr is None else untouched():
        data: Json | None = config.hook.pytest_report_to_serializable(config=config, report=report)
    if data is None:
        msg = f"no plugin can serialize a {type(report).__name__}"
        raise TypeError(msg)
    ours: Json = {"notes": notes} if notes else {}
    longrepr = report.longrepr
    if not isinstance(longrepr, str | tuple | None) and not isinstance(data["longrepr"], dict):
        data["longrepr"] = text = str(longrepr)
        ours["marked"] = (
            terminal_reporter.render(longrepr) if hasattr(longrepr, "toterminal") else text
        )
    if data.get("$report_type") not in {None, "TestReport", "CollectReport"}:
        data["$report_type"] = "TestReport"  # a subclass that brought no serializer of its own
    for name in data.keys() - _PYTESTS:
        data[name] = (_PROPERTIES if name == "user_properties" else _EXTRAS).pack(data[name])
    return {**data, _OURS: ours} if ours else data


def _text_of(how: Callable[[object], str]) -> Callable[[object, Packer], Any]:
    """Return what packs a value of a kind that does not cross: as a plain one, or its text."""

    def pack_text(value: object, packer: Packer) -> Any:  # noqa: ANN401  # JSON
        match value:
            case str() | int() | float():
                return next(kind(value) for kind in (str, int, float) if isinstance(value, kind))
            case dict() | list() | tuple() | set() if packer.may_go_deeper:
                kinds = (dict, list, tuple, set)
                return packer.pack(next(kind(value) for kind in kinds if isinstance(value, kind)))
            case _:
                return describe(value, how)

    return pack_text


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
        "location": [
            shorten(part, _SECTION_LIMIT) if isinstance(part, str) else part
            for part in data.get("location", [])
        ],
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


_EXTRAS: Final = Packer(_text_of(repr))
_PROPERTIES: Final = Packer(_text_of(str))

# --- in the parent ---


def unpack(config: pytest.Config, data: Json) -> tuple[pytest.TestReport, object]:
    """Return the report that `pack` packed, and the notes that came with it.

    Raises `UnreadableReport` for what is none: a test can write what it likes.
    """
    data = dict(data)
    ours = data.pop(_OURS, {})
    if not (
        isinstance(data.get("nodeid"), str)
        and str(data.get("when")) in _PHASES
        and isinstance(data.get("outcome"), str)
    ):
        msg = "a report has no node id, no phase or no outcome"
        raise UnreadableReport(msg)
    if malformed := [name for name, is_form in _FORMS.items() if not is_form(data.get(name))]:
        msg = f"a report's {', '.join(malformed)} cannot be"
        raise UnreadableReport(msg)
    try:
        for name in data.keys() - _PYTESTS:
            data[name] = _UNPACKER.unpack(data[name])
        report = config.hook.pytest_report_from_serializable(config=config, data=data)
        _restore(report, ours)
        _restore_context(report, data)
        _check_text(report.longrepr)
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        msg = f"a report cannot be read: {type(error).__name__}: {error}"
        raise UnreadableReport(msg) from error
    return report, ours.get("notes")


def _is_number(value: object) -> bool:
    match value:
        case bool():
            return False
        case int() | float():
            return abs(value) < _LONGEST  # neither infinite nor NaN
        case _:
            return False


def _is_place(value: object) -> bool:
    match value:
        case [str(), int() | None, str()]:
            return True
        case _:
            return False


def _is_longrepr(value: object) -> bool:
    match value:
        case None | str() | dict() | [str(), int() | None, str()]:
            return True
        case _:
            return False


def _is_sections(value: object) -> bool:
    # What is no text is made one: plugins add numbers, too.
    return isinstance(value, list) and all(
        isinstance(one, list) and len(one) == _PAIR for one in value
    )


#: What pytest and other plugins take for granted of what they have made themselves.
_FORMS: Final[dict[str, Callable[[object], bool]]] = {
    "duration": _is_number,
    "keywords": lambda value: isinstance(value, dict),
    "location": _is_place,
    "longrepr": _is_longrepr,
    "sections": _is_sections,
    "start": lambda value: value is None or _is_number(value),
    "stop": lambda value: value is None or _is_number(value),
}


def _check_text(longrepr: object) -> None:
    """Raise what showing *longrepr* would raise: far from here, where it would end the session."""
    if hasattr(longrepr, "toterminal"):
        terminal_reporter.render(longrepr)
        crash = getattr(longrepr, "reprcrash", None)
        if crash is not None and [type(one) for one in _parts(crash)] != [str, int, str]:
            msg = "its place is none"
            raise ValueError(msg)


def _parts(crash: Any) -> tuple[object, ...]:  # noqa: ANN401  # pytest's private class
    return crash.path, crash.lineno, crash.message


def _refuse(packed: Json, _: Unpacker) -> object:
    raise ValueError(packed.get(KIND))


_UNPACKER: Final = Unpacker(_refuse)


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
