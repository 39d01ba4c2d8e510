"""A test of each end."""

from __future__ import annotations

import pytest


def test_passes():
    pass


def test_fails():
    assert [1] == [2]


def test_skips():
    pytest.skip("closed")


@pytest.mark.xfail
def test_is_expected():
    assert 0


@pytest.fixture
def later():
    yield
    raise ValueError("later")


def test_teardown_fails(later):
    pass


@pytest.fixture
def broken():
    raise KeyError("broken")


def test_setup_fails(broken):
    pass
