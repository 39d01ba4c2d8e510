"""Plugins that report have the same to say: pytest-sugar, instafail, json-report, durations."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

SUITE = """
    import logging, pytest, warnings

    def test_passes(): print("said")
    def test_fails():
        logging.getLogger("x").warning("logged")
        assert {"a": [1]} == {"a": [2]}
    @pytest.mark.skip(reason="closed")
    def test_skipped(): pass
    @pytest.mark.xfail(reason="known")
    def test_known(): assert 0
    @pytest.mark.xfail
    def test_unexpected(): pass
    @pytest.fixture
    def broken(): raise ValueError("broken")
    def test_error(broken): pass
    @pytest.fixture
    def later(): yield; raise ValueError("later")
    def test_late(later): pass
    def test_warns(): warnings.warn("careful")
    @pytest.mark.parametrize("text", ["a", "\\u00e9"])
    def test_each(text): assert text == "a"
    class TestShop:
        def test_sells(self): pass
"""


@pytest.mark.parametrize(
    "arguments",
    ["-p pytest_sugar --force-sugar", "-p pytest_instafail --instafail", "-p pytest_check.plugin"],
)
def test_output_is_that_of_a_plain_run(arguments: str, suite: Suite) -> None:
    suite.write({"a": SUITE})

    plain, isolated = suite.twice(*arguments.split())

    assert isolated == plain


def test_checks_that_failed_are_all_told(suite: Suite) -> None:
    suite.write({
        "a": """
            from pytest_check import check

            def test_many():
                check.equal(1, 2)
                check.equal(1, 1)
                check.equal(3, 4)
            def test_good(): check.is_true(1)
        """
    })

    plain, isolated = suite.twice("-p", "pytest_check.plugin")

    assert isolated == plain
    assert "Failed Checks: 2" in plain.output


#: What differs from run to run.
_VARYING: Final = frozenset({
    *("created", "duration", "environment", "msecs", "process", "relativeCreated", "root"),
    *("thread", "user_properties"),
})


def constant(value: Any) -> Any:
    match value:
        case dict():
            return {name: constant(one) for name, one in value.items() if name not in _VARYING}
        case list():
            return [constant(one) for one in value]
        case str():
            return re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?", "0", value)
        case _:
            return 0 if isinstance(value, float) else value


def test_json_report_is_that_of_a_plain_run(suite: Suite) -> None:
    suite.write({"a": SUITE})
    path = suite.directory.parent / "report.json"
    found = []
    for arguments in ([], ["--isolate"]):
        plugins = ["-p", "pytest_metadata.plugin", "-p", "pytest_jsonreport.plugin"]
        options = ["--json-report", f"--json-report-file={path}", "--metadata", "who", "me"]
        suite.run(*arguments, *plugins, *options)
        found.append(json.loads(path.read_text("utf-8")))

    assert constant(found[1]) == constant(found[0])


def test_metadata_of_a_test_reaches_the_report(suite: Suite) -> None:
    suite.write({
        "a": """
            def test_a(metadata, json_metadata):
                json_metadata["who"] = metadata["who"]
        """
    })
    path = suite.directory.parent / "report.json"
    plugins = ["-p", "pytest_metadata.plugin", "-p", "pytest_jsonreport.plugin"]
    options = ["--json-report", f"--json-report-file={path}", "--metadata", "who", "me"]

    suite.run("--isolate", *plugins, *options)

    assert json.loads(path.read_text("utf-8"))["tests"][0]["metadata"] == {"who": "me"}


def test_durations_have_every_phase_and_fixture(suite: Suite) -> None:
    suite.write({"a": SUITE})
    found = []
    for arguments in ([], ["--isolate"]):
        options = ["-p", "pytest_durations", "--pytest-durations-min=0"]
        run = suite.run(*arguments, *options)
        rows = re.findall(r"^0:00\S+\s+(.+?)\s+(\d+) 0:00", run.output, re.MULTILINE)
        found.append(sorted(rows))

    assert found[1] == found[0]
    assert ("grand total", "11") in found[0]
