"""The table of real programs, and how their uses are judged."""

from __future__ import annotations

import ast
from pathlib import Path
import runpy
from types import SimpleNamespace
from typing import Any

import pytest

#: By path: the suite is a command of the checkout, and the tests may run against a wheel.
_HERE = Path(__file__).parents[1] / "programs"
TABLE = runpy.run_path(str(_HERE / "table.py"))
JUDGING = runpy.run_path(str(_HERE / "judging.py"))
_USE = "uses/servers.py::test_it"
_PHASES = ("setup", "call", "teardown")


def make_run(**outcomes: str) -> Any:
    told = [
        {
            "when": when,
            "outcome": outcomes[when],
            "last": "why" if outcomes[when] == "failed" else "",
        }
        for when in _PHASES
        if when in outcomes
    ]
    return SimpleNamespace(tests={f"work/tests/programs/{_USE}": told} if told else {})


PASSED = make_run(setup="passed", call="passed", teardown="passed")


def test_each_use_is_in_the_table_once_and_each_program_has_a_use() -> None:
    written = {
        f"{path.name}::{node.name}"
        for path in (_HERE / "uses").glob("*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    named = [program.use for program in TABLE["programs"]().values()]

    assert sorted(named) == sorted(written)


def test_quick_packages_are_a_part_of_all() -> None:
    known = TABLE["programs"]().values()
    quick = TABLE["packages"](program for program in known if program.quick)

    assert set(quick) < set(TABLE["packages"](known))
    assert len(quick) == len(set(quick))


def test_a_use_that_passes_in_both_runs_works() -> None:
    assert JUDGING["verdict"](_USE, PASSED, PASSED) == "works"


@pytest.mark.parametrize(
    ("plain", "isolated", "said"),
    [
        (PASSED, make_run(setup="passed", call="failed", teardown="passed"), "with isolation: why"),
        (
            make_run(setup="passed", call="failed", teardown="passed"),
            PASSED,
            "without isolation: why",
        ),
        (PASSED, make_run(setup="skipped", teardown="passed"), "with isolation: no report"),
        (PASSED, make_run(setup="passed", call="passed"), "with isolation: no report"),
        (make_run(), make_run(), "without isolation: no report"),
        (PASSED, make_run(setup="passed", call="passed", teardown="failed"), "with isolation: why"),
    ],
    ids=["fails", "fails plainly", "skipped", "cut short", "never ran", "fails at its end"],
)
def test_a_use_that_does_not_pass_in_both_runs_fails(plain: Any, isolated: Any, said: str) -> None:
    assert JUDGING["verdict"](_USE, plain, isolated) == f"fails {said}"


def test_a_program_without_a_verdict_is_a_problem() -> None:
    some = [SimpleNamespace(name="one"), SimpleNamespace(name="two")]

    assert JUDGING["problems"]("uid 0", some, {"one": "works"}) == ["uid 0: two: no verdict"]


def test_what_is_missing_is_told_with_the_command_that_installs_it() -> None:
    lines = JUDGING["absent"]({"one": [], "two": ["b", "a"], "three": ["a"]})

    assert lines == [
        "two: not installed: b a",
        "three: not installed: a",
        "apt-get install --no-install-recommends a b",
    ]
    assert JUDGING["absent"]({"one": []}) == []


def test_the_page_has_a_row_for_each_program() -> None:
    page = _HERE.parents[1] / "docs/reference/programs.md"
    rows = [line.split(" | ") for line in page.read_text(encoding="utf-8").splitlines()]
    told = {row[0].removeprefix("| "): row[2:4] for row in rows if len(row) == 5}

    assert told.pop("program") == ["root", "user"]
    assert told.keys() == TABLE["programs"]().keys()
    assert {verdict for row in told.values() for verdict in row} == {"works"}
