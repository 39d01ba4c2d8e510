"""What a test writes into objects of pytest's, other than reports: carried over by name.

The fixtures that record for junitxml write into the reporter's object, `tmp_path` counts, and live
output moves the terminal's cursor. In a test process they reach a copy; the parent makes the same
changes to the original.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_isolate import _compat
from pytest_isolate.wire.frames import Event

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from pytest_isolate.wire.frames import Json


class Ledger:
    """What has changed in the test process of one item since the last look."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._properties = len(_compat.testsuite_properties(item.config))
        self._attributes = dict(_compat.xml_attributes(item))
        self._cursor = _compat.cursor(item.config)
        self._numbers = _compat.note_directory_numbers(item.config)
        self._known_numbers: dict[str, int] = {}

    def forget_cursor(self) -> None:
        """Take it that the cursor is elsewhere, even if it comes back: the parent moves its own."""
        self._cursor = {}

    def entries(self) -> Iterator[Event]:
        """Yield each change."""
        config = self._item.config
        for name, value in _compat.testsuite_properties(config)[self._properties :]:
            self._properties += 1
            yield Event("testsuite_property", {"name": name, "value": value})
        for name, value in _compat.xml_attributes(self._item).items():
            if self._attributes.get(name) != value:
                self._attributes[name] = value
                yield Event("xml_attribute", {"name": name, "value": value})
        if (cursor := _compat.cursor(config)) != self._cursor:
            self._cursor = cursor
            yield Event("cursor", cursor)
        for name, number in self._numbers.items():
            if self._known_numbers.get(name) != number:
                self._known_numbers[name] = number
                yield Event("directory_number", {"name": name, "number": number})


def enter(item: pytest.Item, name: str, change: Json) -> None:
    """Make here what a `Ledger` saw in the test process of *item*; nonsense is passed over."""
    match name, change:
        case "testsuite_property", {"name": str(key), "value": str(value)}:
            _compat.testsuite_properties(item.config).append((key, value))
        case "xml_attribute", {"name": str(key), "value": str(value)}:
            _compat.xml_attributes(item)[key] = value
        case "directory_number", {"name": str(key), "number": int(number)}:
            _compat.directory_numbers(item.config)[key] = number
        case "cursor", {"line": str(line), "ended": bool(ended)}:
            _compat.move_cursor(item.config, line, ended=ended)
        case _:
            pass
