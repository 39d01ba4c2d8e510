from __future__ import annotations

import enum

import pytest


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize(
    "value", [1, 1.5, True, None, "x", (1, 2), [1], {"a": 1}, Colour.RED, {1}, b"\xff"]
)
def test_property(record_property, value):
    record_property("key", value)


def test_unprintable(record_property):
    class Bad:
        __slots__ = ()

        def __str__(self):
            return "bad"

    record_property("key", Bad())
    assert 0


def test_suite(record_testsuite_property):
    record_testsuite_property("ARCH", "x<y")


def test_attribute(record_xml_attribute):
    record_xml_attribute("assertions", 3)
