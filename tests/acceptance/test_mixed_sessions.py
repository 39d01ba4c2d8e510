"""Marked and unmarked tests in every order: each fixture lives where, and as often as, promised.

An isolated test inherits what is alive in pytest's process, makes the rest in its sandbox, and
finalises there what it made there. Pytest's process makes and finalises as if isolated tests made
nothing.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING
from typing import Final
from typing import NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.acceptance.conftest import Suite

PATTERNS: Final = ["".join(pattern) for pattern in product("ip", repeat=3)]


class Line(NamedTuple):
    where: str  #: "main", or the isolated test
    what: str  #: up or down
    scope: str
    name: str


@pytest.fixture(scope="module", params=["forward", "reversed"])
def lines(module_suite: Suite, request: pytest.FixtureRequest) -> list[Line]:
    """Return what the fixtures of a session told, of a module for each pattern, in order."""
    suite = module_suite
    suite.copy("mixed_sessions")
    suite.write({pattern: _module(pattern) for pattern in PATTERNS})
    place = suite.directory / "told"
    place.mkdir(exist_ok=True)
    (place / "log").unlink(missing_ok=True)
    environment = {"REVERSED": "1"} if request.param == "reversed" else {}
    run = suite.run("--isolate-writable=told", **environment)
    assert run.status == pytest.ExitCode.OK, run.output
    return [Line(*line.split()) for line in (place / "log").read_text("utf-8").splitlines()]


def _module(pattern: str) -> str:
    names = [
        f"test_{number}_{'isolated' if letter == 'i' else 'plain'}"
        for number, letter in enumerate(pattern)
    ]
    first, *rest = [f"def {name}(function): pass" for name in names]
    methods = "\n".join(f"    {line.replace('(', '(self, ')}" for line in rest)
    return f"{first}\nclass TestIt:\n{methods}\n"


def test_what_is_made_is_finalised_where_it_was_made_last_first(lines: list[Line]) -> None:
    alive: dict[str, list[Line]] = {}
    for line in lines:
        stack = alive.setdefault(line.where, [])
        if line.what == "up":
            stack.append(line)
        else:
            assert stack.pop() == line._replace(what="up")

    assert not any(alive.values())


def test_plain_tests_share_fixtures_as_if_alone(lines: list[Line]) -> None:
    main = [line for line in lines if line.where == "main" and line.what == "up"]

    assert len(main) == len(set(main))
    made = {scope: sum(line.scope == scope for line in main) for scope in ("session", "module")}
    assert made == {"session": 1, "module": sum("p" in pattern for pattern in PATTERNS)}
    plain = [pattern.count("p") for pattern in PATTERNS]
    assert sum(line.scope == "function" for line in main) == sum(plain)


def test_isolated_tests_make_what_is_not_alive_outside(lines: list[Line]) -> None:
    outside: set[tuple[str, str]] = set()
    for where, some in _by_process(lines):
        if where == "main":
            for line in some:
                change = outside.add if line.what == "up" else outside.discard
                change((line.scope, line.name))
            continue
        made = [line for line in some if line.what == "up"]
        scopes = [line.scope for line in made]
        assert scopes[-1] == "function"
        assert not outside.intersection((line.scope, line.name) for line in made)
        for scope in ("session", "package", "module"):
            assert (scope in scopes) == all(there != scope for there, _ in outside)


def _by_process(lines: list[Line]) -> Iterator[tuple[str, list[Line]]]:
    """Yield runs of lines that one process told."""
    some: list[Line] = []
    for line in lines:
        if some and some[0].where != line.where:
            yield some[0].where, some
            some = []
        some.append(line)
    if some:
        yield some[0].where, some
