from __future__ import annotations

import allure
import pytest


@allure.step("put {thing} into the basket")
def put(thing):
    allure.attach(f"receipt of {thing}", name="receipt")


@pytest.fixture
def basket():
    with allure.step("make a basket"):
        yield []


@pytest.fixture
def late():
    yield
    assert 0


@allure.title("Buying tea")
@allure.severity("critical")
@allure.link("nowhere", name="link")
def test_tea(basket):
    put("tea")
    allure.dynamic.description("of tea")


@pytest.mark.parametrize("thing", ["soap", "rope"])
def test_things(basket, thing):
    put(thing)
    assert thing == "soap"


@pytest.mark.skip(reason="closed")
def test_closed():
    pass


@pytest.mark.xfail(reason="known")
def test_known():
    assert 0


def test_broken():
    raise ValueError("no")


def test_late(late):
    print("said")
