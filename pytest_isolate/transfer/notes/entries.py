"""The side of pytest's process: changes that a `Watcher` has sent are made in the books here."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from io import SEEK_END
from io import StringIO
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import final

from pytest_isolate.transfer.notes import books
from pytest_isolate.transfer.notes.values import Understanding

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from collections.abc import Sequence

    import pytest

    from pytest_isolate.transfer.notes.books import Place
    from pytest_isolate.wire.frames import Json


#: What is told of entries, each with its key.
_ENTRIES: Final = frozenset({"set", "add"})


@final
class Books:
    """The books of other plugins, for what the test process of one item has noted."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item
        self._understanding = Understanding(item, self._at)
        self._lost = False

    def enter(self, changes: object, reports: Sequence[object]) -> None:
        """Make *changes*, which may speak of *reports*; nonsense is passed over.

        After what cannot be read the numbers of what follows are wrong: that is passed over too.
        """
        self._understanding.reports = reports
        for change in changes if isinstance(changes, list) else ():
            if self._lost:
                return
            try:
                values = self._read(change)
            except (AttributeError, LookupError, TypeError, ValueError):
                self._lost = True
                return
            with suppress(AttributeError, LookupError, TypeError, ValueError):
                place = tuple((str(kind), name) for kind, name in change["at"])
                _make(self._at(place), values)

    def _read(self, change: Json) -> Json:
        """Return *change* with its values; in the order in which they were packed."""
        unpack = self._understanding.unpacker.unpack
        values: Json = {}
        for how, told in change.items():
            if how in _ENTRIES:
                values[how] = [tuple(map(unpack, one)) for one in told]
            elif isinstance(told, list) and how != "at":
                values[how] = [*map(unpack, told)]
            else:
                values[how] = told
        return values

    def _at(self, place: Place) -> Any:  # noqa: ANN401  # any object
        """Return what is at *place*. Raises LookupError, TypeError or ValueError."""
        (kind, name), *steps = place
        found: Any = (
            self._understanding.unpacker.values[name]
            if kind == "new"
            else books.root(self._item, kind, name)
        )
        for how, step in steps:
            match how:
                case "a" if step == "stash":
                    found = found.stash
                case "a":
                    found = (books.attributes(found) or {})[step]
                case "k":
                    found = _entries(found)[self._understanding.unpacker.unpack(step)]
                case "i":
                    found = found[step]
                case _:
                    raise ValueError(how)
        return found


def _make(owner: Any, change: Json) -> None:  # noqa: ANN401  # any book
    match owner:
        case list() | deque():
            if "replace" in change:
                owner.clear()
            owner.extend(change.get("replace", ()))
            owner.extend(change.get("extend", ()))
        case set():
            owner.difference_update(change.get("less", ()))
            owner.update(change.get("more", ()))
        case StringIO():
            owner.seek(0, SEEK_END)
            owner.write(change["written"])
        case _:
            _make_entries(owner, change)


def _make_entries(owner: Any, change: Json) -> None:  # noqa: ANN401  # any book
    target = _Attributes(owner) if books.entries(owner) is None else _entries(owner)
    for key, value in change.get("set", ()):
        target[key] = value
    for key, was, now in change.get("add", ()):
        here = target.get(key, was)
        # Several processes may have counted on from the same number.
        target[key] = now if here == was or not isinstance(here, int | float) else here + now - was
    for key in change.get("del", ()):
        target.pop(key, None)


def _entries(owner: object) -> MutableMapping[Any, Any]:
    found = books.entries(owner)
    if found is None:
        raise TypeError(type(owner))
    return found


class _Attributes:
    """The attributes of *owner* that may be noted in, as a dict has its entries."""

    def __init__(self, owner: object) -> None:
        self._owner = owner
        self._held = books.attributes(owner) or {}

    def get(self, name: str, default: object) -> object:
        return self._held.get(name, default)

    def __setitem__(self, name: str, value: object) -> None:
        if not books.may_be_set(self._owner, name):
            raise ValueError(name)
        if isinstance(self._owner, type):
            setattr(self._owner, name, value)
        else:
            vars(self._owner)[name] = value

    def pop(self, name: str, _default: object) -> None:
        if name in self._held:
            delattr(self._owner, name)
