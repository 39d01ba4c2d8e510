"""How the runs of a suite without and with isolation are judged."""

from __future__ import annotations

from pathlib import Path
import runpy
from types import SimpleNamespace
from typing import TYPE_CHECKING
from typing import Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

#: By path: the suites are a command of the checkout, and the tests may run against a wheel.
COMPARING = runpy.run_path(str(Path(__file__).parents[1] / "suites" / "comparing.py"))


def make_run(*, ended: bool = True, left: Iterable[str] = (), **outcomes: str) -> Any:
    tests: dict[str, Any] = {
        test: [{"when": "call", "outcome": outcome, "wasxfail": None, "sections": []}]
        for test, outcome in outcomes.items()
    }
    return SimpleNamespace(seconds=1.0, ended=ended, tests=tests, left=list(left))


def judge(plain: list[Any], isolated: Any, listed: dict[str, str] | None = None) -> Any:
    runs = iter(plain)
    return COMPARING["judge"](
        "suite", lambda is_isolated: isolated if is_isolated else next(runs), listed or {}
    )


def test_runs_that_end_alike_agree() -> None:
    assert judge([make_run(a="passed", b="failed")], make_run(a="passed", b="failed")).agrees


@pytest.mark.parametrize("isolated", [{"a": "failed"}, {}, {"a": "passed", "b": "passed"}])
def test_a_test_that_ends_otherwise_is_lost_or_new_makes_runs_differ(
    isolated: Any,
) -> None:
    found = judge([make_run(a="passed")] * 2, make_run(**isolated))
    assert not found.agrees
    assert len(found.unexpected) == 1


def test_a_listed_test_may_differ_and_no_other() -> None:
    found = judge(
        [make_run(a="passed", b="passed")] * 2, make_run(a="failed", b="failed"), {"a": "R"}
    )
    assert list(found.unexpected) == ["b"]
    assert judge([make_run(a="passed")], make_run(a="failed"), {"a": "R"}).agrees


def test_a_listed_test_that_does_not_differ_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    found = judge([make_run(a="passed")], make_run(a="passed"), {"a": "R"})
    COMPARING["tell"](found)
    assert found.agrees
    assert "listed, but agrees: a: R" in capsys.readouterr().out


def test_a_test_that_differs_from_itself_says_nothing() -> None:
    found = judge([make_run(a="passed"), make_run(a="failed")], make_run(a="failed"))
    assert found.agrees
    assert list(found.unsteady) == ["a"]


@pytest.mark.parametrize("isolated", [{"ended": False}, {"left": ["file"]}])
def test_a_run_that_is_cut_off_or_leaves_something_does_not_agree(isolated: Any) -> None:
    assert not judge([make_run(a="passed")], make_run(**isolated, a="passed")).agrees


def test_the_table_counts_and_the_reasons_name_what_is_listed() -> None:
    found = judge([make_run(a="passed", b="passed")], make_run(a="failed", b="passed"), {"a": "R"})
    assert "| suite | 2 | 1 | 0 | 1 | 0 | 0 | 0 |" in COMPARING["table"]([found])
    assert COMPARING["reasons"]([found]) == "- R: `suite: a`"


def test_only_the_named_place_of_a_page_changes(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a <!-- x: begin -->old<!-- x: end --> <!-- y: begin --><!-- y: end -->")
    COMPARING["put"](page, "x", "new")
    assert page.read_text() == (
        "a <!-- x: begin -->\n\nnew\n\n<!-- x: end --> <!-- y: begin --><!-- y: end -->"
    )
