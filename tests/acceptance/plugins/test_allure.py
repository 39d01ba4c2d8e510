"""allure-pytest's results are those of a plain run: status, steps, attachments, fixtures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Suite

#: What differs from run to run.
_VARYING: Final = frozenset({
    *("uuid", "start", "stop", "historyId", "testCaseId", "source", "children", "trace"),
})


def results(place: Path, kind: str) -> list[Any]:
    """Return the files of a *kind* that allure has left, in an order of their own."""
    files = [json.loads(path.read_text("utf-8")) for path in place.glob(f"*-{kind}.json")]
    return sorted(map(constant, files), key=repr)


def constant(value: Any) -> Any:
    match value:
        case dict():
            return {name: constant(value[name]) for name in sorted(value) if name not in _VARYING}
        case list():
            return [constant(one) for one in value if not is_of_the_machine(one)]
        case _:
            return value


def is_of_the_machine(value: Any) -> bool:
    return isinstance(value, dict) and value.get("name") in {"host", "thread"}


def test_results_are_those_of_a_plain_run(suite: Suite) -> None:
    suite.copy("plugins/allure")
    found = []
    for name, arguments in (("plain", []), ("isolated", ["--isolate"])):
        place = suite.directory.parent / name
        suite.run(*arguments, "-p", "allure_pytest.plugin", f"--alluredir={place}")
        attached = sorted(path.read_text("utf-8") for path in place.glob("*-attachment*"))
        found.append((results(place, "result"), results(place, "container"), attached))

    assert found[1] == found[0]
    assert {result["status"] for result in found[0][0]} == {
        *("passed", "failed", "broken", "skipped"),
    }


def test_test_that_dies_has_failed_and_keeps_its_suite(suite: Suite) -> None:
    suite.write({
        "dies": """
            import os, pytest

            def test_call(): os.abort()
            @pytest.fixture
            def dead(): os.abort()
            def test_setup(dead): pass
        """
    })
    place = suite.directory.parent / "results"

    suite.run("--isolate", "-p", "allure_pytest.plugin", f"--alluredir={place}")

    for result in results(place, "result"):
        assert result["status"] == "failed"
        assert "Crashed: killed by SIGABRT" in result["statusDetails"]["message"]
        assert {"name": "suite", "value": "test_dies"} in result["labels"]
        assert result["fullName"] == f"test_dies#{result['name']}"
