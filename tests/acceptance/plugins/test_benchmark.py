"""pytest-benchmark's figures of isolated tests are there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_figures_arrive(suite: Suite) -> None:
    suite.write({
        "a": """
            import pytest

            def test_fast(benchmark): benchmark(lambda: 1)
            @pytest.mark.benchmark(group="slow", min_rounds=3, max_time=0.01)
            @pytest.mark.parametrize("number", [1, 2])
            def test_slow(benchmark, number):
                benchmark.extra_info["told"] = number
                benchmark.pedantic(sum, args=([number],), rounds=4)
            def test_fails(benchmark): benchmark(lambda: 1 / 0)
        """
    })
    path = suite.directory / "figures.json"
    figures = []
    for arguments in ([], ["--isolate"]):
        run = suite.run(*arguments, "-p", "pytest_benchmark.plugin", f"--benchmark-json={path}")
        assert run.status == pytest.ExitCode.TESTS_FAILED
        figures.append([
            (
                one["name"],
                one["group"],
                one["params"],
                one["extra_info"],
                one["options"],
                one["stats"]["rounds"] * (one["name"] != "test_fast"),
            )
            for one in json.loads(path.read_text("utf-8"))["benchmarks"]
        ])

    assert figures[1] == figures[0]
    assert len(figures[0]) == 3
