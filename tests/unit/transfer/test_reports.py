"""Reports cross the wire whole, and what cannot cross is degraded."""

from __future__ import annotations

import enum
from functools import partial
import json
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pytest

from pytest_isolate.transfer import reports
from pytest_isolate.wire.codec import MAX_FRAME
from pytest_isolate.wire.codec import encode
from pytest_isolate.wire.frames import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_isolate.wire.frames import Json


class Colour(enum.IntEnum):
    RED = 1


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError


class Recursive(list[object]):
    pass


def make(**changes: Any) -> pytest.TestReport:
    fields: dict[str, Any] = {
        "nodeid": "test_x.py::test",
        "location": ("test_x.py", 3, "test"),
        "keywords": {"test": 1},
        "outcome": "passed",
        "longrepr": None,
        "when": "call",
        "sections": [("Captured stdout call", "out\n")],
        "duration": 0.5,
        "start": 1.0,
        "stop": 1.5,
    }
    return pytest.TestReport(**(fields | changes))


def cross(config: pytest.Config, report: pytest.TestReport) -> pytest.TestReport:
    return reports.unpack(config, over_the_wire(reports.pack(config, report)))[0]


def over_the_wire(data: Json) -> Json:
    crossed: Json = json.loads(json.dumps(data))
    return crossed


def failure(error: BaseException) -> Any:
    """Return pytest's representation of *error*."""
    call = pytest.CallInfo.from_call(partial(throw, error), when="call")
    assert call.excinfo is not None
    return call.excinfo.getrepr()


def throw(error: BaseException) -> None:
    raise error


def test_every_field_arrives(pytestconfig: pytest.Config) -> None:
    report = make(outcome="failed", longrepr=failure(KeyError("x")), own=["attribute"])

    arrived = cross(pytestconfig, report)

    for name in ("nodeid", "location", "keywords", "outcome", "when", "sections", "duration"):
        assert getattr(arrived, name) == getattr(report, name)
    assert (arrived.start, arrived.stop, arrived.own) == (1.0, 1.5, ["attribute"])


@pytest.mark.parametrize(
    "error",
    [ValueError("one\ntwo"), ExceptionGroup("several", [OSError(2, "x"), KeyError()])],
    ids=["plain", "group"],
)
def test_traceback_arrives_as_it_is(pytestconfig: pytest.Config, error: Exception) -> None:
    report = make(outcome="failed", longrepr=failure(error))

    arrived = cross(pytestconfig, report)

    assert arrived.longreprtext == report.longreprtext
    assert type(arrived.longrepr) is type(report.longrepr)


def test_reason_of_a_skip_stays_a_tuple(pytestconfig: pytest.Config) -> None:
    arrived = cross(pytestconfig, make(outcome="skipped", longrepr=("test_x.py", 3, "Skipped: x")))

    assert arrived.longrepr == ("test_x.py", 3, "Skipped: x")
    assert isinstance(arrived.sections[0], tuple)


def test_representation_that_is_no_traceback_is_shown_as_it_would_be(
    pytestconfig: pytest.Config,
) -> None:
    class Own:
        def __str__(self) -> str:
            return "own text"

        def toterminal(self, out: Any) -> None:
            out.line("own text", red=True)

    arrived = cross(pytestconfig, make(outcome="failed", longrepr=Own()))

    assert arrived.longreprtext == "own text"
    assert not isinstance(arrived.longrepr, str)  # a string would be repeated in summaries
    assert getattr(arrived.longrepr, "marked", "") == "\x1b[31mown text\x1b[0m\n"


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (1, 1),
        (None, None),
        (["a", {"b": 1.5}], ["a", {"b": 1.5}]),
        ((1, 2), (1, 2)),
        ([(1, 2)], [(1, 2)]),
        ({1: 2}, {1: 2}),
        pytest.param(Colour.RED, 1, id="enum"),
        ({1}, {1}),
        (b"\xff", b"\xff"),
        (Path("x"), "x"),
        ("\udc80", "\udc80"),
        (Unprintable(), "<Unprintable: str raised ValueError>"),
    ],
)
def test_property_arrives_as_it_is_or_as_text(
    pytestconfig: pytest.Config, value: object, arrives: object
) -> None:
    arrived = cross(pytestconfig, make(user_properties=[("key", value)]))

    assert arrived.user_properties == [("key", arrives)]


def test_attribute_that_cannot_cross_is_degraded(pytestconfig: pytest.Config) -> None:
    loop = Recursive()
    loop.append(loop)
    data = reports.pack(pytestconfig, make(odd={(1,): object, "set": {1}, "loop": loop}, kept="x"))

    degraded = over_the_wire(reports.degrade(data))

    arrived = reports.unpack(pytestconfig, degraded)[0]
    assert arrived.outcome == "passed"
    assert arrived.odd[1,] == "<class 'object'>"
    assert arrived.odd["set"] == {1}
    assert arrived.kept == "x"


def test_report_too_large_for_a_frame_is_cut_with_a_note(pytestconfig: pytest.Config) -> None:
    report = make(
        outcome="failed",
        longrepr="begin" + "x" * MAX_FRAME + "end",
        sections=[("Captured stdout call", "y" * MAX_FRAME)] * 1000,
        user_properties=[("key", "z" * MAX_FRAME)],
        huge="w" * MAX_FRAME,
    )

    data = reports.cut(reports.pack(pytestconfig, report), report.longreprtext)

    assert len(encode(Report(data))) < MAX_FRAME
    arrived = reports.unpack(pytestconfig, over_the_wire(data))[0]
    assert arrived.failed
    assert arrived.location == report.location
    text = arrived.longreprtext
    assert (text[:5], text[-3:]) == ("begin", "end")
    assert "characters are left out: the report was too large" in text
    assert "characters are left out" in arrived.sections[0][1]


def test_attributes_that_plugins_add_arrive_as_what_they_were(pytestconfig: pytest.Config) -> None:
    own = {1: "a", (1, 2): {"x"}, None: b"y", 2.5: 2j, "deep": [frozenset({1}), ("f", 3.5)]}

    arrived = cross(pytestconfig, make(own=own))

    assert arrived.own == own


def test_outcome_that_a_plugin_has_invented_arrives(pytestconfig: pytest.Config) -> None:
    arrived = cross(pytestconfig, make(outcome="retried"))

    assert str(arrived.outcome) == "retried"


def test_traceback_that_cannot_be_shown_is_no_report(pytestconfig: pytest.Config) -> None:
    data = reports.pack(pytestconfig, make(longrepr=failure(ValueError("text"))))

    refused = 0
    for path in paths(data["longrepr"]):
        for nonsense in (7, "text", None, [], {}, [7], {"a": 1}):
            damaged = json.loads(json.dumps(data))
            put(damaged["longrepr"], path, nonsense)
            try:
                report, _ = reports.unpack(pytestconfig, damaged)
            except reports.UnreadableReport:
                refused += 1
            else:
                # Whatever it shows, it can be shown.
                assert isinstance(report.longreprtext, str)
                assert isinstance(report.head_line, str | None)
    assert refused >= 100


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in items:
        yield (*path, key)
        if isinstance(one, dict | list):
            yield from paths(one, (*path, key))


def put(value: Any, path: tuple[str | int, ...], new: object) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


@pytest.mark.parametrize(
    "damage",
    [
        {"when": "never"},
        {"when": ["call"]},
        {"nodeid": 3},
        {"$report_type": "Nonsense"},
        {"location": None},
        {"sections": [1]},
        {"longrepr": {"reprcrash": 1}},
        {"longrepr": [1]},
        {"longrepr": ["path", "line", "reason"]},
        {"location": ["path", "line", "name"]},
        {"location": [None, 1, "name"]},
        {"keywords": ["name"]},
        {"duration": "long"},
        {"duration": float("nan")},
        {"duration": 1e300},
        {"duration": True},
        {"start": "now"},
        {"stop": {}},
        {"sections": None},
        {"sections": [["title"]]},
        {"user_properties": 7},
        {"outcome": 7},
        {"own": {"$": "nonsense"}},
        {"$isolate": ["marked"], "longrepr": "x"},
    ],
)
def test_nonsense_is_no_report(pytestconfig: pytest.Config, damage: Json) -> None:
    data = reports.pack(pytestconfig, make()) | damage

    with pytest.raises(reports.UnreadableReport, match="report"):
        reports.unpack(pytestconfig, data)
