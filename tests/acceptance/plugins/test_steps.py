"""pytest-steps: a step that fails is seen, and those after it are skipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_steps_of_a_generator_are_those_of_a_plain_run(suite: Suite) -> None:
    suite.copy("plugins/steps")

    plain, isolated = suite.twice("-p", "pytest_steps.plugin", "-rA", "--tb=short")

    assert isolated == plain
    assert plain.outcomes("test_fails[b]")["call"] == "failed"
    assert plain.outcomes("test_fails[c]")["call"] == "skipped"
