"""A well-behaved test cannot be told from the reports to have been isolated.

The same suite runs without and with `--isolate`; outcomes, sections, messages, warnings, order,
counts, the terminal's text, junitxml and the exit status are the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Run
    from tests.acceptance.conftest import Suite

SUITES: Final = Path(__file__).with_name("suites") / "outcomes"
COMMON: Final = sorted(path.name for path in SUITES.glob("common/test_*.py"))
#: What pytest 8.4 does not know.
FROM_9: Final = sorted(path.name for path in SUITES.glob("from_9/test_*.py"))
HAS_SUBTESTS: Final = pytest.version_tuple >= (9,)

with_subtests: Final = pytest.mark.skipif(not HAS_SUBTESTS, reason="subtests came with pytest 9")


@pytest.fixture(scope="module")
def runs(module_suite: Suite) -> tuple[Run, Run]:
    """Return the plain and the isolated run of all suites at once."""
    module_suite.copy("outcomes/common")
    if HAS_SUBTESTS:
        module_suite.copy("outcomes/from_9")
    return module_suite.twice("-ra", "--doctest-modules", "-p", "pytester")


@pytest.mark.parametrize(
    "module", [*COMMON, *(pytest.param(name, marks=with_subtests) for name in FROM_9)]
)
def test_every_report_is_the_same(module: str, runs: tuple[Run, Run]) -> None:
    plain, isolated = (
        [event for event in run.events if module in event.get("nodeid", "")] for run in runs
    )

    assert plain
    assert isolated == plain


def test_every_test_was_isolated(runs: tuple[Run, Run]) -> None:
    plain, isolated = runs

    tests = {event["nodeid"] for event in plain.events if event["hook"] == "start"}
    assert isolated.properties.keys() == tests
    assert plain.properties == {}


def test_terminal_says_the_same(runs: tuple[Run, Run]) -> None:
    plain, isolated = runs

    assert isolated.output == plain.output


def test_counts_and_exit_status_are_the_same(runs: tuple[Run, Run]) -> None:
    plain, isolated = runs

    assert (isolated.status, isolated.events[-1]) == (plain.status, plain.events[-1])


def test_junitxml_is_the_same(runs: tuple[Run, Run]) -> None:
    plain, isolated = runs

    assert len(plain.junit) > len(COMMON) + len(FROM_9)
    assert isolated.junit == plain.junit


@with_subtests
def test_failed_parts_of_a_test_case_are_the_same(suite: Suite) -> None:
    suite.write({
        "parts": """
            import unittest

            class Parts(unittest.TestCase):
                def test_parts(self):
                    for i in range(3):
                        with self.subTest("message", i=i): self.assertNotEqual(i, 1)
                def test_part_and_whole(self):
                    with self.subTest(): self.fail("part")
                    self.fail("whole")
        """
    })

    runs = suite.twice()

    # Alone, pytest writes such a part's letter into what it captures of the test.
    plain, isolated = ([{**event, "sections": None} for event in run.events] for run in runs)
    assert isolated == plain
