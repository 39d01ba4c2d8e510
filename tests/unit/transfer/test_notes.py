"""Notes of plugins cross with what they hold; what cannot cross is left out."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from datetime import UTC
from datetime import datetime
from datetime import timedelta
from decimal import Decimal
import enum
from fractions import Fraction
import json
import os
from pathlib import Path
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING
from typing import Any
from uuid import UUID

import pytest

from pytest_isolate.policy import model
from pytest_isolate.session import runner
from pytest_isolate.transfer.notes import books
from pytest_isolate.transfer.notes.entries import Books
from pytest_isolate.transfer.notes.values import Telling
from pytest_isolate.transfer.notes.values import Understanding
from pytest_isolate.wire.typed import Unpackable

if TYPE_CHECKING:
    from pytest_isolate.wire.frames import Json


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Line:
    name: str
    colour: Colour = Colour.RED
    next: Line | None = None


Pair = namedtuple("Pair", ["one", "other"])  # noqa: PYI024  # as plugins have it


class Slotted:
    __slots__ = ("x",)


class Closing:
    def __del__(self) -> None:
        pass


class Resource:
    def __init__(self) -> None:
        self.lock = threading.Lock()


def cross(item: pytest.Item, value: object, reports: list[object] | None = None) -> Any:
    telling = Telling(item, {})
    telling.reports = reports or []
    packed = json.loads(json.dumps(telling.packer.pack(value)))
    understanding = Understanding(item, lambda place: place)
    understanding.reports = telling.reports
    return understanding.unpacker.unpack(packed)


@pytest.fixture
def item(request: pytest.FixtureRequest) -> pytest.Item:
    node = request.node
    assert isinstance(node, pytest.Item)
    return node


@pytest.mark.parametrize(
    "value",
    [
        Line("a", next=Line("b")),
        Colour.RED,
        Pair(1, (2,)),
        Path("a/b"),
        datetime(2020, 2, 29, 1, 2, 3, 4, UTC),
        timedelta(days=1, microseconds=3),
        Decimal("1.10"),
        Fraction(1, 3),
        UUID(int=7),
        SimpleNamespace(a=[1]),
        Line,
        cross,
    ],
    ids=lambda value: getattr(type(value), "__name__", ""),
)
def test_value_arrives_as_what_it_was(item: pytest.Item, value: object) -> None:
    arrived = cross(item, value)

    assert type(arrived) is type(value)
    assert arrived == value


def test_what_both_processes_have_arrives_as_itself(item: pytest.Item) -> None:
    report = object.__new__(pytest.TestReport)
    value = [item, item.session, item.config, item.parent, report]

    arrived = cross(item, value, [report])

    assert all(one is other for one, other in zip(arrived, value, strict=True))


def test_object_that_holds_itself_does_so_again(item: pytest.Item) -> None:
    line = Line("a")
    line.next = line

    arrived = cross(item, line)

    assert arrived.next is arrived


def test_exception_and_call_are_stood_in_for(item: pytest.Item) -> None:
    def fail() -> None:
        raise KeyError("x")  # noqa: EM101

    call = pytest.CallInfo.from_call(fail, when="call")

    arrived = cross(item, call)

    assert (arrived.when, arrived.excinfo.typename, str(arrived.excinfo.value)) == (
        "call",
        "KeyError",
        "'x'",
    )


@pytest.mark.parametrize(
    "value",
    [threading.Lock(), Resource(), Slotted(), Closing(), lambda: 1, open, threading.Thread()],
    ids=["lock", "holds a lock", "slots", "finalizer", "lambda", "builtin", "thread"],
)
def test_value_that_is_bound_to_its_process_does_not_cross(
    item: pytest.Item, value: object
) -> None:
    with pytest.raises(Unpackable):
        cross(item, value)


@pytest.mark.parametrize(
    "packed",
    [
        {"$": "global", "class": ["os", "system"]},
        {"$": "global", "class": ["builtins", "eval"]},
        {"$": "object", "class": ["subprocess", "Popen"], "state": {}},
        {"$": "object", "class": ["_pytest.python", "Function"], "state": {}},
        {"$": "object", "class": [__name__, "Closing"], "state": {}},
        {"$": "object", "class": [__name__, "Pair"], "state": {}},
        {"$": "tuple of", "class": [__name__, "Line"], "of": []},
        {"$": "member", "class": [__name__, "Line"], "member": "x"},
        {"$": "made", "class": "Popen", "of": []},
        {"$": "item", "number": 10**9},
        {"$": "report", "number": 0},
    ],
)
def test_nothing_else_is_made_or_called(item: pytest.Item, packed: Json) -> None:
    understanding = Understanding(item, lambda place: place)

    with pytest.raises((LookupError, TypeError, ValueError)):
        understanding.unpacker.unpack(packed)


@pytest.mark.parametrize(
    "place",
    [
        [["config", 0], ["a", "option"]],
        [["config", 0], ["a", "pluginmanager"]],
        [["node", 0], ["a", "items"]],
        [["plugin", "terminalreporter"]],
        [["plugin", "isolate-forwarder"]],
        [["class", "terminalreporter"]],
        [["module", "os"]],
        [["module", "_pytest.runner"]],
        [["module", "pytest_isolate.policy"]],
        [["node", 99]],
        [["new", 0]],
        [["nonsense", 0]],
        [],
    ],
)
def test_note_in_what_is_no_plugins_is_passed_over(item: pytest.Item, place: Any) -> None:
    Books(item).enter([{"at": place, "set": [["hacked", 1]], "extend": [1]}], [])

    assert not hasattr(item.config.option, "hacked")
    assert not hasattr(item.config.pluginmanager, "hacked")
    assert not any(hasattr(plugin, "hacked") for plugin in item.config.pluginmanager.get_plugins())
    assert not any("hacked" in vars(module) for module in (os, model, runner))


@pytest.mark.parametrize("name", ["runtest", "ihook", "nodeid", "keywords", "session", "stash"])
def test_what_is_pytests_own_on_an_item_is_not_set(item: pytest.Item, name: str) -> None:
    before = vars(item).get(name)

    Books(item).enter([{"at": [["node", len(item.listchain()) - 1]], "set": [[name, 1]]}], [])

    assert vars(item).get(name) is before


def test_function_of_a_plugin_is_not_replaced() -> None:
    class Plugin:
        def hook(self) -> None:
            pass

    assert not books.may_be_set(Plugin, "hook")
    assert books.may_be_set(Plugin, "count")
