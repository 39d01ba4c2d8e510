"""What a test writes into objects of pytest's, other than reports: carried over by name.

The fixtures that record for junitxml write into the reporter's object, failed subtests are counted,
and live output moves the terminal's cursor. In a test process they reach a copy; the parent makes
the same changes to the original. Of numbered directories it is told that there are new ones, see
`base_directory`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import final

import pytest

from pytest_isolate._compat import records
from pytest_isolate._compat import terminal_reporter
from pytest_isolate.transfer import base_directory
from pytest_isolate.wire.frames import Event

if TYPE_CHECKING:
    from collections.abc import Generator
    from collections.abc import Iterator

    from pytest_isolate.wire.frames import Json


_facts_key = pytest.StashKey[set[tuple[str, str, str]]]()


@final
class SessionState:
    """What has changed in the test process of one item since the last look.

    It is a plugin there: a fixture of a wide scope is set up in each sandbox, and what it records
    of the test suite is still one fact.
    """

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._properties = len(records.testsuite_properties(item.config))
        self._recorders: dict[int, str] = {}  #: wide fixtures, by the property's number
        self._attributes = dict(records.xml_attributes(item))
        self._cursor = terminal_reporter.cursor(item.config)
        self._subtests = 0

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Take note of the properties that a fixture of a wide scope records."""
        properties = records.testsuite_properties(self._item.config)
        before = len(properties)
        try:
            return (yield)
        finally:
            if request.scope != "function":
                number = getattr(request, "param_index", 0)
                name = f"{fixturedef.argname} {request.node.nodeid} {number}"
                for number in range(before, len(properties)):
                    self._recorders.setdefault(number, name)

    def forget_cursor(self) -> None:
        """Take it that the cursor is elsewhere, even if it comes back: the parent moves its own."""
        self._cursor = {}

    def entries(self) -> Iterator[Event]:
        """Yield each change."""
        config = self._item.config
        for name, value in records.testsuite_properties(config)[self._properties :]:
            recorder = self._recorders.get(self._properties, "")
            self._properties += 1
            fact = {"name": name, "value": value, "recorder": recorder}
            yield Event("testsuite_property", fact)
        for name, value in records.xml_attributes(self._item).items():
            if self._attributes.get(name) != value:
                self._attributes[name] = value
                yield Event("xml_attribute", {"name": name, "value": value})
        failed = records.failed_subtests(config).get(records.subtests_name(self._item), 0)
        if failed != self._subtests:
            self._subtests = failed
            yield Event("failed_subtests", {"count": failed})
        if (cursor := terminal_reporter.cursor(config)) != self._cursor:
            self._cursor = cursor
            yield Event("cursor", cursor)
        if base_directory.has_news(config):
            yield Event("directories", {})


def enter(item: pytest.Item, name: str, change: Json) -> None:
    """Make here what a `SessionState` saw in the process of *item*; nonsense is passed over."""
    match name, change:
        case "testsuite_property", {"name": str(), "value": str(), "recorder": str()}:
            _enter_fact(item.config, change["name"], change["value"], change["recorder"])
        case "xml_attribute", {"name": str(key), "value": str(value)}:
            records.xml_attributes(item)[key] = value
        case "directories", _:
            base_directory.look(item.config)
        case "failed_subtests", {"count": int(count)}:
            records.failed_subtests(item.config)[records.subtests_name(item)] = count
        case "cursor", {"line": str(line), "ended": bool(ended)}:
            terminal_reporter.move_cursor(item.config, line, ended=ended)
        case _:
            pass


def _enter_fact(config: pytest.Config, name: str, value: str, recorder: str) -> None:
    """Record a property of the suite, unless the wide fixture *recorder* has in another test."""
    facts = config.stash.setdefault(_facts_key, set())
    if not recorder or (recorder, name, value) not in facts:
        facts.add((recorder, name, value))
        records.testsuite_properties(config).append((name, value))
