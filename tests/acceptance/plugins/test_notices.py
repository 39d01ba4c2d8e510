"""Plugins that give nothing of isolated tests: one line before the first test, and no harm done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

SUITE = """
    import pytest

    def test_passes(): pass
    def test_fails(): assert 0
    def test_skips(): pytest.skip("closed")
    @pytest.mark.isolated
    def test_marked(): pass
"""
#: The plugin, its options, and what the line is about.
CASES = [
    ("pytest_profiling", "--profile", "pytest-profiling measures pytest's process"),
    ("pytest_monitor.pytest_monitor", "--no-db --remote-server=nowhere:1 --no-monitor", ""),
    ("pytest_monitor.pytest_monitor", "--db=monitor.db", "pytest-monitor measures pytest's"),
    ("pytest_snapshot.plugin", "--snapshot-update", "--snapshot-update: what isolated tests"),
    ("pytest_snapshot.plugin", "--snapshot-update --isolate-writable=.", ""),
    ("pytest_snapshot.plugin", "", ""),
    ("pytest_recording.plugin", "--record-mode=once", "--record-mode: what isolated tests"),
    ("pytest_recording.plugin", "--record-mode=none", ""),
    ("pytest_codspeed.plugin", "", ""),
]


@pytest.mark.parametrize(("plugin", "arguments", "line"), CASES)
@pytest.mark.parametrize("how", ["--isolate", "--isolate -q", "marked", "-q"])
def test_line_comes_once(how: str, plugin: str, arguments: str, line: str, suite: Suite) -> None:
    suite.write({"a": SUITE})
    isolate = how.split() if how != "marked" else []

    run = suite.run(*isolate, "-p", plugin, *arguments.split())

    # The header's line speaks of what is in force.
    told = [one for one in run.told if "tests; " not in one]
    assert len(told) == bool(line)
    assert all(line in one for one in told)
    if how.startswith("--isolate"):
        names = ("test_passes", "test_fails", "test_skips")
        assert [run.outcomes(name)["call"] for name in names] == ["passed", "failed", "skipped"]


def test_benchmark_of_codspeed_is_told_of(suite: Suite) -> None:
    suite.write({"a": "def test_a(benchmark): benchmark(sum, [1, 2])\n"})

    run = suite.run("--isolate", "-p", "pytest_codspeed.plugin", "--codspeed")

    assert len([one for one in run.told if "pytest-codspeed reports what it measures" in one]) == 1
    assert run.outcomes("test_a")["call"] == "passed"


def test_no_isolated_test_no_line(suite: Suite) -> None:
    suite.write({"a": "def test_a(): pass\n"})

    run = suite.run("-p", "pytest_profiling", "--profile")

    assert not run.told
