"""Fixtures of every scope that tell where and when they live."""

from __future__ import annotations

import os

import pytest

MAIN = os.getpid()
PLACE = os.path.join(os.path.dirname(__file__), "told")


def tell(*words):
    with open(os.path.join(PLACE, "log"), "a") as file:
        print("main" if os.getpid() == MAIN else "child", *words, file=file)


def living(scope, *needs):
    def fixture(request):
        for need in needs:
            request.getfixturevalue(need)
        tell(scope, "up")
        print(scope, "up")
        yield scope
        tell(scope, "down")
        print(scope, "down")

    return pytest.fixture(fixture, scope=scope, name=scope[0])


session = living("session")
module = living("module", "s")
function = living("function", "m")


@pytest.fixture(scope="session", params=["A", "B"])
def letter(request):
    tell("up", request.param)
    yield request.param
    tell("down", request.param)


@pytest.fixture(scope="session")
def doubled(letter):
    yield letter * 2
    tell("down doubled", letter)
