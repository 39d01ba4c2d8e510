"""The hungriest tests are those that took the most memory, and are shown with their caps."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any
from typing import Final

import pytest

from pytest_isolate.reporting import top
from pytest_isolate.reporting.top import ItemUsage

if TYPE_CHECKING:
    from pytest_isolate.transfer.reports import When

MIB: Final = 1024**2


def report(nodeid: str, when: When = "teardown", **figures: Any) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=nodeid,
        location=("", 0, ""),
        keywords={},
        outcome="passed",
        longrepr=None,
        when=when,
        user_properties=[(f"isolate.{name}", value) for name, value in figures.items()],
    )


def test_figures_are_those_of_isolated_tests_teardowns() -> None:
    reports = [
        report("a", wall_seconds=1.5, cpu_seconds=0.5, memory_peak=MIB, memory_cap=2 * MIB),
        report("b", wall_seconds=2),
        report("b", "call", wall_seconds=2),
        report("plain"),
        report("forged", wall_seconds="soon"),
    ]

    assert list(top.usages(reports)) == [
        ItemUsage(
            nodeid="a", wall_seconds=1.5, cpu_seconds=0.5, memory_peak=MIB, memory_cap=2 * MIB
        ),
        ItemUsage(nodeid="b", wall_seconds=2),
    ]


def test_memory_comes_first_then_time_of_the_cpu() -> None:
    ordered = [
        ItemUsage(nodeid="most", wall_seconds=1, memory_peak=3, cpu_seconds=1),
        ItemUsage(nodeid="busy", wall_seconds=1, memory_peak=2, cpu_seconds=9),
        ItemUsage(nodeid="idle", wall_seconds=9, memory_peak=2, cpu_seconds=1),
        ItemUsage(nodeid="uncounted", wall_seconds=99),
    ]

    assert top.largest(reversed(ordered), 0) == ordered
    assert top.largest(reversed(ordered), 2) == ordered[:2]


def test_line_has_a_column_for_each_figure() -> None:
    full = ItemUsage(
        nodeid="a::b",
        wall_seconds=1.5,
        cpu_seconds=0.25,
        memory_peak=MIB,
        memory_cap=1024 * MIB,
    )
    bare = ItemUsage(nodeid="a::c", wall_seconds=100.25)

    assert full.line() == "   1.0 MiB of 1.0 GiB       0.25 s CPU    1.50 s wall  a::b"
    assert bare.line() == "         - no cap                - CPU  100.25 s wall  a::c"
