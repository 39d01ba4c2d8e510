from __future__ import annotations

import pytest


def test_passes():
    pass


def test_fails():
    assert [1] == [2]


def test_raises():
    raise ValueError("no")


def test_skips():
    pytest.skip("closed")


@pytest.mark.skip
def test_skipped():
    pass


@pytest.fixture
def broken():
    raise ValueError("broken")


def test_error(broken):
    pass


@pytest.fixture
def later():
    yield
    raise ValueError("later")


def test_late(later):
    pass


@pytest.mark.parametrize("number", [1, 2])
def test_each(number):
    assert number == 1
