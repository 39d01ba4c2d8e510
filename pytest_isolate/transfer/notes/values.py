"""Values of notes on their way: what is the same object on both sides crosses by its place.

Nodes, the config and reports are told by name, classes and functions by module and name. An object
of a class of others' crosses with its attributes, and is made again without its `__init__`. Nothing
is imported for a value, and no class of pytest's or Python's is made but of those named here.
"""

from __future__ import annotations

from datetime import date
from datetime import datetime
from datetime import time
from datetime import timedelta
from datetime import timezone
from decimal import Decimal
import enum
from fractions import Fraction
from pathlib import Path
from pathlib import PosixPath
from pathlib import PurePosixPath
import sys
from types import FunctionType
from types import SimpleNamespace
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import final
from uuid import UUID

import pytest

from pytest_isolate.transfer import surrogates
from pytest_isolate.transfer import synthetic
from pytest_isolate.transfer.notes import books
from pytest_isolate.wire.typed import KIND
from pytest_isolate.wire.typed import Packer
from pytest_isolate.wire.typed import Unpackable
from pytest_isolate.wire.typed import Unpacker

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping
    from collections.abc import Sequence

    from pytest_isolate.transfer.notes.books import Place
    from pytest_isolate.wire.frames import Json

#: Python's own classes whose objects cross as the arguments that make them.
_BY_ARGUMENTS: Final[Mapping[type, Callable[[Any], tuple[object, ...]]]] = {
    Path: lambda path: (str(path),),
    PosixPath: lambda path: (str(path),),
    PurePosixPath: lambda path: (str(path),),
    date: lambda day: (day.year, day.month, day.day),
    datetime: lambda moment: (*moment.timetuple()[:6], moment.microsecond, moment.tzinfo),
    time: lambda clock: (clock.hour, clock.minute, clock.second, clock.microsecond, clock.tzinfo),
    timedelta: lambda span: (span.days, span.seconds, span.microseconds),
    timezone: lambda zone: (zone.utcoffset(None),),
    Decimal: lambda number: (str(number),),
    Fraction: lambda number: (number.numerator, number.denominator),
    UUID: lambda name: (name.hex,),
}
_BY_NAME: Final = {kind.__name__: kind for kind in _BY_ARGUMENTS}


def find(module: str, name: str) -> Any:  # noqa: ANN401  # a class, a function
    """Return the global of that name in a module of others'. Raises LookupError."""
    if not books.is_others(module):
        raise LookupError(module)
    found: object = sys.modules[module]
    for part in name.split("."):
        found = vars(found)[part]
    return found


@final
class Telling:
    """What the test process tells objects by: the packer's side."""

    def __init__(self, item: pytest.Item, places: Mapping[int, Place]) -> None:
        self._item = item
        self._places = places  #: of objects that both sides have, by address
        self._nodes = {id(node): number for number, node in enumerate(item.listchain())}
        self.reports: list[object] = []  #: that were sent, in their order
        self.packer = Packer(self._other, shared=True)

    def _other(self, value: object, packer: Packer) -> Json:
        told = self._by_name(value)
        if told is None:
            told = self._by_parts(value, packer)
        if told is None:
            kind = type(value)
            msg = f"{kind.__module__}.{kind.__qualname__} cannot cross"
            raise Unpackable(msg)
        return told

    def _by_name(self, value: object) -> Json | None:  # noqa: PLR0911  # a table
        """Return what names an object that the other side has as well."""
        if (place := self._places.get(id(value))) is not None:
            return {KIND: "at", "place": [[*step] for step in place]}
        match value:
            case pytest.Item() | pytest.Collector():
                return self._node(value)
            case pytest.Config():
                return {KIND: "config"} if value is self._item.config else None
            case type() | FunctionType():
                return self._global(value)
            case enum.Enum():
                return {**self._class(type(value), "member"), "member": value.name}
            case pytest.CollectReport() | pytest.TestReport():
                return self._report(value)
            case _:
                return None

    def _by_parts(self, value: Any, packer: Packer) -> Json | None:  # noqa: ANN401
        kind = type(value)
        if kind in _BY_ARGUMENTS:
            arguments = _BY_ARGUMENTS[kind](value)
            return {KIND: "made", "class": kind.__name__, "of": [*map(packer.pack, arguments)]}
        if isinstance(value, BaseException):
            text = str(value)
            return {KIND: "error", "classes": surrogates.names(kind, BaseException), "text": text}
        if isinstance(value, pytest.CallInfo):
            error = None if value.excinfo is None else self._other(value.excinfo.value, packer)
            return {KIND: "call", "when": value.when, "start": value.start, "error": error}
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return {**self._class(kind, "tuple of"), "of": [*map(packer.pack, value)]}
        if kind is SimpleNamespace or books.is_made_by_others(value):
            return self._object(value, packer)
        return None

    def _object(self, value: object, packer: Packer) -> Json:
        told = (
            {KIND: "object", "class": None}
            if type(value) is SimpleNamespace
            else self._class(type(value), "object")
        )
        if (number := packer.number(value)) is not None:
            return {KIND: "again", "number": number}
        packer.remember(value)
        return {**told, "state": {name: packer.pack(one) for name, one in vars(value).items()}}

    def _node(self, node: pytest.Item | pytest.Collector) -> Json | None:
        if (number := self._nodes.get(id(node))) is not None:
            return {KIND: "node", "number": number}
        items = self._item.session.items
        place = next((n for n, item in enumerate(items) if item is node), None)
        return None if place is None else {KIND: "item", "number": place}

    def _report(self, report: object) -> Json | None:
        place = next((n for n, sent in enumerate(self.reports) if sent is report), None)
        return None if place is None else {KIND: "report", "number": place}

    def _global(self, value: type | FunctionType) -> Json | None:
        return self._class(value, "global")

    @staticmethod
    def _class(kind: type | FunctionType, how: str) -> Json:
        module, name = kind.__module__, kind.__qualname__
        try:
            same = find(module, name) is kind
        except (LookupError, TypeError):
            same = False
        if not same:
            msg = f"{module}.{name} is not found by its name"
            raise Unpackable(msg)
        return {KIND: how, "class": [module, name]}


@final
class Understanding:
    """What pytest's process makes of it: the unpacker's side. *at* returns what is at a place."""

    def __init__(self, item: pytest.Item, at: Callable[[Place], object]) -> None:
        self._item = item
        self._at = at
        self.reports: Sequence[object] = ()
        self.unpacker = Unpacker(self._other, shared=True)

    def _other(self, packed: Json, unpacker: Unpacker) -> Any:  # noqa: ANN401, C901, PLR0911, PLR0912
        match packed:
            case {"$": "at", "place": list(place)}:
                return self._at(tuple((str(kind), name) for kind, name in place))
            case {"$": "node", "number": int(number)}:
                return self._item.listchain()[number]
            case {"$": "item", "number": int(number)}:
                return self._item.session.items[number]
            case {"$": "config"}:
                return self._item.config
            case {"$": "report", "number": int(number)}:
                return self.reports[number]
            case {"$": "global", "class": [str(module), str(name)]}:
                return find(module, name)
            case {"$": "member", "class": [str(module), str(name)], "member": str(member)}:
                return self._kind(module, name, enum.Enum)[member]
            case {"$": "tuple of", "class": [str(module), str(name)], "of": list(of)}:
                kind = self._kind(module, name, tuple)
                return tuple.__new__(kind, map(unpacker.unpack, of))
            case {"$": "made", "class": str(name), "of": list(of)}:
                return _BY_NAME[name](*map(unpacker.unpack, of))
            case {"$": "error", "classes": list(classes), "text": str(text)}:
                return surrogates.make(classes, (text,), text, BaseException)
            case {"$": "call", "when": str(when), "start": float(start), "error": error}:
                left = None if error is None else unpacker.unpack(error)
                return synthetic.call(when, left, start)  # type: ignore[arg-type]  # a name
            case {"$": "object", "class": None, "state": dict(state)}:
                return self._fill(unpacker, SimpleNamespace(), state)
            case {"$": "object", "class": [str(module), str(name)], "state": dict(state)}:
                made = object.__new__(self._kind(module, name, object))
                if not books.is_made_by_others(made):
                    raise LookupError(name)
                return self._fill(unpacker, made, state)
            case _:
                msg = "a value of no known kind"
                raise ValueError(msg)

    @staticmethod
    def _kind(module: str, name: str, root: type) -> Any:  # noqa: ANN401  # a class
        found = find(module, name)
        if isinstance(found, type) and issubclass(found, root):
            return found
        raise LookupError(name)

    @staticmethod
    def _fill(unpacker: Unpacker, made: Any, state: Json) -> Any:  # noqa: ANN401
        unpacker.remember(made)
        vars(made).update({name: unpacker.unpack(one) for name, one in state.items()})
        return made
