"""The test process's side: what a hook of others changes in its books, as changes of places."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from functools import partial
from functools import wraps
from io import StringIO
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import NamedTuple
from typing import final

import pytest

from pytest_isolate.transfer.notes import books
from pytest_isolate.transfer.notes.values import Telling
from pytest_isolate.wire.typed import Unpackable

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Generator
    from collections.abc import Iterable
    from collections.abc import Iterator

    from pytest_isolate.transfer.notes.books import Hooks
    from pytest_isolate.transfer.notes.books import Place
    from pytest_isolate.transfer.notes.books import Roots
    from pytest_isolate.wire.frames import Json

#: Objects that are looked at around one hook, the nearest first.
_MOST: Final = 400
#: Of a longer list or dict only the last members are looked into: what it holds itself is seen all.
_LAST: Final = 32
_MISSING: Final = object()


class Seen(NamedTuple):
    """One object before a hook ran: what it held."""

    place: Place
    owner: Any
    held: Any  #: a copy: of attributes or entries a dict, else a list, a set or a text


@final
class Watcher:
    """Watches the hooks of other plugins in the test process of one item, from now on."""

    def __init__(self, item: pytest.Item, hooks: Hooks) -> None:
        self._telling = Telling(item, hooks.keys)
        self._noted: list[tuple[Seen, Any]] = []  #: what changed, and what it held then
        self._shared = tuple(books.shared_roots(item, hooks)) if hooks.hooks else ()
        self._keys = hooks.keys
        self._looking = False

        for hook in hooks.hooks:
            impl = hook.implementation
            around = self._generator if impl.wrapper or impl.hookwrapper else self._function
            impl.function = around(hook.roots, impl.function)  # type: ignore[misc]  # here alone

    def _function(self, own: Roots, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def watched(*arguments: object, **named: object) -> object:
            __tracebackhide__ = True
            with self._look(own):
                return function(*arguments, **named)

        return watched

    def _generator(self, own: Roots, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def watched(*arguments: object, **named: object) -> Generator[Any, Any, Any]:
            __tracebackhide__ = True
            inner = function(*arguments, **named)
            go_on: Callable[[], Any] = inner.__next__
            while True:
                with self._look(own):
                    try:
                        given = go_on()
                    except StopIteration as end:
                        return end.value
                try:
                    go_on = partial(inner.send, (yield given))
                except BaseException as error:  # noqa: BLE001  # the wrapper's to judge
                    go_on = partial(inner.throw, error)

        return watched

    @contextmanager
    def _look(self, own: Roots) -> Iterator[None]:
        """Note what changes meanwhile; hooks that a hook calls are looked at with it."""
        __tracebackhide__ = True
        if self._looking:
            yield
            return
        self._looking = True
        before = self._see(own)
        try:
            yield
        finally:
            self._looking = False
            for seen in before:
                now = _held(seen.owner)
                if not _same(seen.held, now):
                    self._noted.append((seen, now))

    def _see(self, own: Roots) -> list[Seen]:
        """Return what a plugin whose roots are *own* may note in, as it is now."""
        found: list[Seen] = []
        known: set[int] = set()
        queue = deque((*self._shared, *own))
        while queue and len(found) < _MOST:
            place, owner = queue.popleft()
            if id(owner) in known:
                continue
            known.add(id(owner))
            number = self._telling.packer.number(owner)
            if number is not None:
                place = (("new", number),)
            held = _held(owner)
            if held is None:
                continue
            found.append(Seen(place, owner, held))
            queue.extend(((*place, step), one) for step, one in self._members(owner, held))
        return found

    def _members(self, owner: object, held: Any) -> Iterator[tuple[tuple[str, Any], Any]]:  # noqa: ANN401
        """Yield the members of *owner* that may be noted in, each with its step."""
        match held:
            case dict():
                parts = [key for key, value in held.items() if books.is_part(owner, value)]
                if books.entries(owner) is None:
                    yield from ((("a", key), held[key]) for key in parts)
                    return
                for key in parts[-_LAST:]:
                    if (told := self._key(key)) is not None:
                        yield ("k", told), held[key]
            case list():
                start = max(0, len(held) - _LAST)
                for index, one in enumerate(held[start:], start):
                    if books.is_part(owner, one):
                        yield ("i", index), one
            case _:
                pass

    def _key(self, key: object) -> Any:  # noqa: ANN401  # JSON
        """Return *key* packed, or `None` if it is not the same for both sides."""
        if type(key) is str:
            return key
        if isinstance(key, pytest.StashKey) and id(key) not in self._keys:
            return None
        packer = self._telling.packer
        sent = packer.sent
        try:
            packed = packer.pack(key)
        except Unpackable:
            packed = None
        if packer.sent == sent:
            return packed
        packer.forget_after(sent)
        return None

    # --- what is sent ---

    def take(self, report: object = None) -> list[Json]:
        """Return the changes since the last time, as the other side makes them.

        *report* is sent with them.
        """
        if report is not None:
            self._telling.reports.append(report)
        noted, self._noted = self._noted, []
        if not noted:
            return []
        sent = self._telling.packer.sent
        changes = []
        for seen, now in noted:
            number = self._telling.packer.number(seen.owner)
            if number is not None and number >= sent:
                continue  # it is new, and was sent as it is now
            change = self._change(seen.held, now)
            if change:
                changes.append({"at": [[*step] for step in seen.place], **change})
        return changes

    def _change(self, before: Any, now: Any) -> Json:  # noqa: ANN401
        """Return what made *now* of *before*, without what cannot cross."""
        match before:
            case dict():
                return self._entries(before, now)
            case set():
                change = {
                    "more": [*self._packed(now - before)],
                    "less": [*self._packed(before - now)],
                }
                return {name: members for name, members in change.items() if members}
            case str():
                return {"written": now[len(before) :]} if now.startswith(before) else {}
            case _:
                kept = _common(before, now)
                if kept == len(before):
                    return {"extend": [*self._packed(now[kept:])]}
                members = [*self._packed(now)]
                return {"replace": members} if len(members) == len(now) else {}

    def _entries(self, before: dict[Any, Any], now: dict[Any, Any]) -> Json:
        """Return entries that are new, changed (numbers by their difference) and gone."""
        new, added = [], []
        for key, value in now.items():
            was = before.get(key, _MISSING)
            if was is value:
                continue
            if type(was) in {int, float} and type(value) is type(was):
                added += [[told, was, value] for told in self._packed([key])]
            else:
                new += [*self._pairs(key, value)]
        gone = [*self._packed(key for key in before if key not in now)]
        change = {"set": new, "add": added, "del": gone}
        return {name: entries for name, entries in change.items() if entries}

    def _pairs(self, key: object, value: object) -> Iterator[list[Any]]:
        packed = [*self._packed([(key, value)])]
        for one in packed:
            yield one["of"]

    def _packed(self, values: Iterable[object]) -> Iterator[Any]:
        """Yield *values* packed, but for those that cannot cross."""
        packer = self._telling.packer
        for value in values:
            sent = packer.sent
            try:
                yield packer.pack(value)
            except (Unpackable, RecursionError):
                packer.forget_after(sent)


def _held(owner: Any) -> Any:  # noqa: ANN401  # as `Seen` has it
    """Return a copy of what *owner* holds, or `None` if nothing can be noted in it."""
    if isinstance(owner, list | deque):
        return list(owner)
    if isinstance(owner, set):
        return set(owner)
    if isinstance(owner, StringIO):
        return owner.getvalue()
    entries = books.entries(owner)
    return dict(entries) if entries is not None else books.attributes(owner)


def _same(before: Any, now: Any) -> bool:  # noqa: ANN401  # two of `_held`
    """Return whether both hold the same objects, or the same text."""
    try:
        # What is the same object is not asked whether it is equal: this runs none of others' code
        # unless something is another object now.
        return bool(before == now)
    except Exception:  # noqa: BLE001  # anybody's comparison
        return False


def _common(before: list[Any], now: list[Any]) -> int:
    """Return how many members at the beginning are the same."""
    count = 0
    for one, other in zip(before, now, strict=False):
        if one is not other:
            break
        count += 1
    return count
