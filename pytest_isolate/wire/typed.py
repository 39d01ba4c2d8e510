"""Values that JSON does not have, as JSON and back: tuples, sets, bytes, keys that are no strings.

A value that JSON has is itself. Any other is an object with the key `$`, which names its kind; so
is a dict that has such a key itself. What no kind is for, the caller says. Pure; unpacking calls
nothing but what the caller gives.
"""

from __future__ import annotations

from collections import Counter
from collections import OrderedDict
from collections import defaultdict
from collections import deque
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import final

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable
    from collections.abc import Mapping

    from pytest_isolate.wire.frames import Json

#: The key that makes an object a value of another kind.
KIND: Final = "$"
_EXACT: Final = frozenset({str, int, float, bool, type(None)})
_DEEPEST: Final = 40  #: levels of a value that cross; pytest's own reach 9
_DICTS: Final[Mapping[str, type[dict[Any, Any]]]] = {
    "Counter": Counter,
    "OrderedDict": OrderedDict,
    "defaultdict": defaultdict,
    "dict": dict,
}
_FACTORIES: Final = {one.__name__: one for one in (bool, dict, float, int, list, set, str, tuple)}


class Unpackable(Exception):  # noqa: N818  # what the value is
    """A value that cannot cross; the message says why, in one line."""


@final
class Packer:
    """Packs values of one conversation.

    *other* packs what has no kind here: it returns JSON, or raises `Unpackable`. With *shared* a
    list, set or dict that comes twice, in itself even, is sent once and then told by its number.
    """

    def __init__(self, other: Callable[[object, Packer], Any], *, shared: bool = False) -> None:
        self._other = other
        self._shared = shared
        self._numbers: dict[int, int] = {}
        self._alive: list[object] = []  # an address is a name only while nothing else can have it
        self._depth = 0

    def number(self, value: object) -> int | None:
        """Return the number of a *value* that was sent already."""
        return self._numbers.get(id(value))

    @property
    def may_go_deeper(self) -> bool:
        """Whether members of the value that is being packed may still be packed."""
        return self._depth < _DEEPEST

    @property
    def sent(self) -> int:
        """How many values have a number."""
        return len(self._alive)

    def forget_after(self, sent: int) -> None:
        """Take back the numbers that came after the first *sent*: their message is not sent."""
        for value in self._alive[sent:]:
            del self._numbers[id(value)]
        del self._alive[sent:]

    def remember(self, value: object) -> None:
        """Give *value* the next number."""
        self._numbers[id(value)] = len(self._alive)
        self._alive.append(value)

    def pack(self, value: object) -> Any:  # noqa: ANN401  # JSON
        """Return *value* as JSON. Raises what the caller's function raises."""
        kind = type(value)
        if kind in _EXACT:
            return value
        if self._depth >= _DEEPEST:
            return self._other(value, self)
        self._depth += 1
        try:
            return self._container(value, kind)
        finally:
            self._depth -= 1

    def _container(self, value: Any, kind: type) -> Any:  # noqa: ANN401  # JSON
        if kind in _FROZEN:
            return {KIND: kind.__name__, "of": [self.pack(one) for one in _FROZEN[kind](value)]}
        if kind not in _MUTABLE:
            return self._other(value, self)
        if self._shared:
            if (number := self.number(value)) is not None:
                return {KIND: "again", "number": number}
            self.remember(value)
        return self._mutable(value, kind)

    def _mutable(self, value: Any, kind: type) -> Any:  # noqa: ANN401  # JSON
        if kind is list:
            return [self.pack(one) for one in value]
        if kind in {set, bytearray}:
            inner = [*value] if kind is bytearray else [self.pack(one) for one in value]
            return {KIND: kind.__name__, "of": inner}
        if kind is deque:
            return {KIND: "deque", "of": [self.pack(one) for one in value], "most": value.maxlen}
        if kind is dict and all(type(key) is str for key in value) and KIND not in value:
            return {key: self.pack(one) for key, one in value.items()}
        pairs = [[self.pack(key), self.pack(one)] for key, one in value.items()]
        packed: Json = {KIND: kind.__name__, "pairs": pairs}
        if kind is defaultdict:
            packed["factory"] = self._factory(value.default_factory)
        return packed

    def _factory(self, factory: Any) -> Any:  # noqa: ANN401  # whatever was given
        name = getattr(factory, "__name__", "")
        if factory is None or _FACTORIES.get(name) is factory:
            return None if factory is None else name
        return {KIND: "factory", "is": self._other(factory, self)}


#: Values that are made at once, by the list that makes them.
_FROZEN: Final[Mapping[type, Callable[[Any], Iterable[object]]]] = {
    tuple: list,
    frozenset: list,
    bytes: lambda value: [value.hex()],
    complex: lambda value: [value.real, value.imag],
}
_THAWED: Final[Mapping[str, Callable[[list[Any]], object]]] = {
    "tuple": tuple,
    "frozenset": frozenset,
    "bytes": lambda of: bytes.fromhex(*of),
    "complex": lambda of: complex(*of),
}
#: Values that can be filled after they are made, and hold themselves.
_MUTABLE: Final = frozenset({list, set, bytearray, deque, *_DICTS.values()})


@final
class Unpacker:
    """Unpacks the values of one conversation; *other* unpacks the kinds that are the caller's."""

    def __init__(self, other: Callable[[Json, Unpacker], object], *, shared: bool = False) -> None:
        self._other = other
        self._shared = shared
        self.values: list[Any] = []  #: that have a number

    def unpack(self, packed: Any) -> Any:  # noqa: ANN401  # JSON to anything
        """Return the value. Raises LookupError, TypeError or ValueError for nonsense."""
        match packed:
            case list():
                made = self.remember([])
                made.extend(map(self.unpack, packed))
                return made
            case {"$": str(kind)}:
                return self._kind(kind, packed)
            case dict(entries):
                return self._fill(self.remember({}), entries.items())
            case _:
                return packed

    def remember(self, made: Any) -> Any:  # noqa: ANN401  # what it is given
        """Give *made* the next number, and return it."""
        if self._shared:
            self.values.append(made)
        return made

    def _kind(self, kind: str, packed: Json) -> Any:  # noqa: ANN401
        match kind, packed:
            case "again", {"number": int(number)}:
                return self.values[number]
            case _, {"of": list(of)} if kind in _THAWED:
                return _THAWED[kind]([self.unpack(one) for one in of])
            case (("bytearray" | "set" | "deque"), {"of": list(of)}):
                return self._of_members(kind, of, packed.get("most"))
            case _, {"pairs": list(pairs)} if kind in _DICTS:
                made = self.remember(_DICTS[kind]())
                self._fill(made, ((self.unpack(key), value) for key, value in pairs))
                if kind == "defaultdict":
                    made.default_factory = self._factory(packed.get("factory"))
                return made
            case _:
                return self._other(packed, self)

    def _of_members(self, kind: str, of: list[Any], most: int | None) -> object:
        if kind == "bytearray":
            return self.remember(bytearray(of))
        if kind == "set":
            members: set[object] = self.remember(set())
            members.update(map(self.unpack, of))
            return members
        queue: deque[object] = self.remember(deque(maxlen=most))
        queue.extend(map(self.unpack, of))
        return queue

    def _fill(self, made: Any, pairs: Any) -> Any:  # noqa: ANN401  # a dict and its items
        for key, value in pairs:
            made[key] = self.unpack(value)
        return made

    def _factory(self, packed: Any) -> Any:  # noqa: ANN401  # a callable
        match packed:
            case {"$": "factory", "is": inner}:
                return self.unpack(inner)
            case _:
                return None if packed is None else _FACTORIES[packed]
