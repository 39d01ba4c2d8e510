from __future__ import annotations

import pytest
from pytest_steps import optional_step
from pytest_steps import test_steps


@test_steps("a", "b", "c")
def test_fails():
    yield
    assert 0
    yield
    yield


@pytest.mark.parametrize("number", [1, 2])
@test_steps("first", "second")
def test_each(number):
    found = [number]
    yield
    assert found == [1]
    yield


@test_steps("a", "b", "c")
def test_optional():
    yield
    with optional_step("b") as b:
        assert 0
    yield b
    with optional_step("c", depends_on=b) as c:
        if c.should_run():
            pass
    yield c
