"""Values that JSON does not have cross as what they are."""

from __future__ import annotations

from collections import Counter
from collections import OrderedDict
from collections import defaultdict
from collections import deque
import json
from typing import TYPE_CHECKING
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import pytest

from pytest_isolate.wire.typed import Packer
from pytest_isolate.wire.typed import Unpackable
from pytest_isolate.wire.typed import Unpacker

if TYPE_CHECKING:
    from pytest_isolate.wire.frames import Json

SIMPLE = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.floats(-1, 1)
KEYS = st.recursive(SIMPLE, lambda inner: st.lists(inner).map(tuple), max_leaves=4)
VALUES = st.recursive(
    SIMPLE | st.frozensets(KEYS) | st.sets(KEYS),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(KEYS, inner)
        | st.dictionaries(st.text() | st.just("$"), inner)
    ),
    max_leaves=20,
)


def refuse(value: object, _: Packer) -> Any:
    raise Unpackable(type(value).__name__)


def refuse_kind(packed: Json, _: Unpacker) -> object:
    raise ValueError(packed)


def cross(value: object, *, shared: bool = False) -> Any:
    packed = Packer(refuse, shared=shared).pack(value)
    return Unpacker(refuse_kind, shared=shared).unpack(json.loads(json.dumps(packed)))


@pytest.mark.parametrize("shared", [False, True])
@given(value=VALUES)
def test_any_value_comes_back_as_it_was(value: object, shared: bool) -> None:  # noqa: FBT001
    arrived = cross(value, shared=shared)

    assert arrived == value
    assert type(arrived) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        Counter("hello"),
        OrderedDict(b=1, a=2),
        defaultdict(list, {1: [2]}),
        defaultdict(None, {1: [2]}),
        deque([1, (2,)], maxlen=5),
        bytearray(b"\xff\x00"),
    ],
    ids=["counter", "ordered", "default", "no default", "deque", "bytearray"],
)
def test_container_of_the_standard_library_keeps_its_class(value: Any) -> None:
    arrived = cross(value)

    assert (type(arrived), arrived) == (type(value), value)
    assert getattr(arrived, "default_factory", None) is getattr(value, "default_factory", None)
    assert getattr(arrived, "maxlen", None) == getattr(value, "maxlen", None)


def test_what_is_one_object_stays_one() -> None:
    inner: list[Any] = [1]
    value: dict[str, Any] = {"a": inner, "b": inner}
    inner.append(value)

    arrived = cross(value, shared=True)

    assert arrived["a"] is arrived["b"]
    assert arrived["a"][1] is arrived


def test_value_of_no_known_kind_is_the_callers() -> None:
    with pytest.raises(Unpackable, match="object"):
        cross([object()])


def test_what_was_not_sent_has_no_number() -> None:
    packer = Packer(refuse, shared=True)
    kept: list[object] = [1]
    packer.pack(kept)
    sent = packer.sent

    with pytest.raises(Unpackable):
        packer.pack([[2], object()])
    packer.forget_after(sent)

    assert packer.number(kept) == 0
    assert packer.sent == 1


@pytest.mark.parametrize(
    "nonsense",
    [
        {"$": "nonsense"},
        {"$": "tuple"},
        {"$": "again", "number": 7},
        {"$": "bytes", "of": ["x"]},
        {"$": "bytes", "of": []},
        {"$": "complex", "of": ["x"]},
        {"$": "defaultdict", "pairs": [[1, 2]], "factory": "eval"},
        {"$": "dict", "pairs": [1]},
        {"$": "set", "of": [[]]},
    ],
)
def test_nonsense_is_refused(nonsense: Json) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):
        Unpacker(refuse_kind).unpack(nonsense)
