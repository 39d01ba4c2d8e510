"""pytest-bdd's reports have the scenarios and their steps."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_scenarios_are_told(suite: Suite) -> None:
    suite.write({
        "buy.feature": """\
            Feature: Buying
              @smoke
              Scenario: Tea
                Given a basket
                When I add tea
                Then there is tea

              Scenario Outline: Things
                Given a basket
                When I add <thing>
                Then there is soap

                Examples:
                  | thing |
                  | soap  |
                  | rope  |
        """,
        "buy": """
            from pytest_bdd import given, parsers, scenarios, then, when

            scenarios("buy.feature")

            @given("a basket", target_fixture="basket")
            def _(): return []
            @when(parsers.parse("I add {thing}"))
            def _(basket, thing): basket.append(thing)
            @then(parsers.parse("there is {thing}"))
            def _(basket, thing): assert thing in basket
        """,
    })
    path = suite.directory.parent / "cucumber.json"
    found = []
    for arguments in ([], ["--isolate"]):
        options = ["-vv", "--tb=no", "--gherkin-terminal-reporter", f"--cucumberjson={path}"]
        run = suite.run(*arguments, "-p", "pytest_bdd.plugin", *options)
        told = re.sub(r'"duration": \d+', "", path.read_text("utf-8"))
        found.append((run.output, told))

    assert found[1] == found[0]
    assert "Scenario Outline: Things\n        Given a basket" in found[0][0]
    assert len(json.loads(path.read_text("utf-8"))[0]["elements"]) == 3
