"""Descriptors come out of a frame as what they went in."""

from __future__ import annotations

import pytest

from pytest_isolate.sandbox.attached import Attached

WHOLE = Attached(
    init=3,
    joins=(4, 5),
    counters={"v1.memory.failcnt": 6, "v2.cpu.stat": 7},
    notifier={"v1.event": 8},
    upper=9,
    fresh={"/tmp": 10, "/a b": 11},
)


@pytest.mark.parametrize("attached", [WHOLE, Attached(init=3)])
def test_names_and_descriptors_are_read_as_they_were_written(attached: Attached) -> None:
    assert Attached.of(attached.named()) == attached


def test_a_kind_that_is_not_known_is_an_error() -> None:
    with pytest.raises(KeyError, match="door"):
        Attached.of([("init", 3), ("door /x", 4)])
