"""hypothesis finds the same, and its examples are there for the next run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


SUITE = """
    from hypothesis import given, settings, strategies as st, event

    @settings(max_examples=30, derandomize=True, database=None)
    @given(st.integers())
    def test_holds(x): event("ran"); assert x == x
    @settings(max_examples=200, derandomize=True, database=None)
    @given(st.integers())
    def test_fails(x): assert x < 100
"""


def test_failures_are_the_same(suite: Suite) -> None:
    suite.write({"a": SUITE})

    plain, isolated = suite.twice("-p", "_hypothesis_pytestplugin")

    # Statistics with times are among the properties in junitxml.
    assert (isolated.output, isolated.events) == (plain.output, plain.events)


def test_examples_survive(suite: Suite) -> None:
    suite.write({
        "a": """
            from hypothesis import given, settings, strategies as st

            seen = []
            @settings(max_examples=1000)
            @given(st.integers())
            def test_fails(x): seen.append(x); assert x < 1_000, f"after {len(seen)}"
        """
    })
    arguments = [
        "--isolate",
        "-p",
        "_hypothesis_pytestplugin",
        "--hypothesis-profile=default",  # that of CI keeps no examples
        "--hypothesis-show-statistics",
    ]
    first = suite.run(*arguments)
    second = suite.run(*arguments)

    assert (suite.directory / ".hypothesis" / "examples").is_dir()
    assert "during generate phase" in first.output
    assert "during reuse phase" in second.output
