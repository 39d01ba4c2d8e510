from __future__ import annotations

from counted import counted
import pytest


@pytest.fixture(scope="module")
def wide():
    yield


@pytest.mark.flaky(reruns=3)
def test_flaky(wide):
    assert counted("flaky") == 3


@pytest.mark.flaky(reruns=1)
def test_always(wide):
    assert 0


@pytest.mark.flaky(reruns=2, only_rerun=["KeyError"])
def test_other_error():
    raise ValueError("x")


@pytest.mark.flaky(reruns=2, only_rerun=["KeyError"])
def test_that_error():
    raise KeyError("x")


@pytest.mark.flaky(reruns=2, condition="isinstance(error, LookupError)")
def test_condition():
    raise KeyError("x")


@pytest.mark.flaky(reruns=2)
@pytest.mark.xfail
def test_expected():
    assert 0


@pytest.fixture
def broken():
    assert counted("broken") == 2


@pytest.mark.flaky(reruns=2)
def test_setup(broken):
    pass


def test_steady(wide):
    pass


@pytest.mark.flaky(reruns=2)
def test_parts(subtests):
    with subtests.test():
        assert counted("parts") == 2
