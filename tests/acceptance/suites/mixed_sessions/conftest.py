"""Fixtures that tell where and when they live; tests, by their names, whether they are isolated."""

from __future__ import annotations

import os

import pytest


def tell(request, *words):
    with open("told/log", "a") as file:
        print(os.environ["NUMBER"], *words, request.node.nodeid or ".", file=file)


os.environ["NUMBER"] = "main"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    if "isolated" in item.name:
        os.environ["NUMBER"] = item.nodeid
    return (yield)


def living(scope, *needs):
    def fixture(request):
        for need in needs:
            request.getfixturevalue(need)
        tell(request, "up", scope)
        yield
        tell(request, "down", scope)

    return pytest.fixture(fixture, scope=scope, name=scope)


session = living("session")
package = living("package", "session")
module = living("module", "package")
klass = living("class", "module")
function = living("function", "class")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    for item in items:
        if "isolated" in item.name:
            item.add_marker(pytest.mark.isolated)
    if os.environ.get("REVERSED"):
        items.reverse()
