from __future__ import annotations

from counted import counted
from flaky import flaky
import pytest


@flaky(max_runs=3)
def test_decorated():
    assert counted("decorated") == 3


@pytest.mark.flaky(max_runs=3, min_passes=2)
def test_marked():
    assert counted("marked") > 1


@flaky
def test_always():
    assert 0


@flaky(rerun_filter=lambda err, name, test, plugin: issubclass(err[0], KeyError))
def test_filtered():
    raise ValueError(1)


@flaky
def test_skipped():
    pytest.skip("x")


@pytest.fixture
def broken():
    yield
    assert 0


@flaky
def test_teardown(broken):
    pass


def test_steady():
    pass


def test_failing():
    assert 0
