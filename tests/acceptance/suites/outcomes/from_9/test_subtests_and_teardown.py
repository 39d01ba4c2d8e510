from __future__ import annotations

import pytest


@pytest.fixture
def broken():
    yield
    raise ValueError("later")


def test_both(subtests, broken):
    with subtests.test("inner"):
        assert 0


def test_after():
    pass
