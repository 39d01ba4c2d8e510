"""pytest-html's report names every test once, with the figures."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING
from typing import Any
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


ARGUMENTS = (
    *("-p", "pytest_html.plugin"),
    *("-p", "pytest_html.fixtures"),
    *("-p", "pytest_metadata.plugin"),
)


def rows_of(page: str) -> dict[str, list[dict[str, Any]]]:
    """Return the page's rows of each test."""
    blob = re.search(r'data-jsonblob="([^"]*)"', page)
    assert blob is not None
    tests: dict[str, list[dict[str, Any]]] = json.loads(html.unescape(blob[1]))["tests"]
    return tests


def test_report_has_every_test_once(suite: Suite) -> None:
    suite.write({
        "a": """
            import pytest

            def test_passes(extras): print("told")
            def test_fails(): assert 0
            @pytest.fixture
            def broken(): yield; assert 0
            def test_breaks(broken): pass
        """,
        "conftest.py": """
            import pytest
            import pytest_html

            @pytest.hookimpl(wrapper=True)
            def pytest_runtest_makereport(item, call):
                report = yield
                report.extras = [pytest_html.extras.text("more")]
                return report
        """,
    })
    path = suite.directory / "report.html"
    rows = []
    for arguments in ([], ["--isolate"]):
        suite.run(*arguments, *ARGUMENTS, f"--html={path}")
        tests = rows_of(path.read_text("utf-8"))
        rows.append({
            name: [(one["result"], len(one["extras"]), "told" in one["log"]) for one in ones]
            for name, ones in tests.items()
        })

    assert rows[1] == rows[0]


def test_death_is_shown_with_its_cause_figures_and_a_plot(suite: Suite) -> None:
    suite.write({
        "deaths": """
            import os, pytest, time

            @pytest.mark.isolated(memory="60M")
            def test_hungry():
                hoard = []
                while True:
                    hoard.append(b"x" * 4_000_000)
                    time.sleep(0.02)
            @pytest.mark.isolated(memory="60M")
            def test_fast(): b"x" * 200_000_000
            def test_crashes(): os.abort()
            def test_fails(): assert 0
            def test_lives(): time.sleep(0.1)
        """
    })
    path = suite.directory / "report.html"

    suite.run("--isolate", *ARGUMENTS, f"--html={path}", "--self-contained-html")

    tests = rows_of(path.read_text("utf-8"))
    plots = {}
    for name, rows in tests.items():
        extras = [one["content"] for row in rows for one in row["extras"]]
        plots[name.partition("::")[2]] = [one for one in extras if "isolate-memory" in one]
        if extras:
            assert any("wall time" in row["log"] for row in rows)
    assert {name: len(found) for name, found in plots.items()} == {
        "test_hungry": 1,
        "test_fast": 1,
        "test_crashes": 1,
        "test_fails": 0,
        "test_lives": 0,
    }
    assert "OOM killed: exceeded its memory cap of 60.0 MiB" in str(tests)
    (plot,) = plots["test_hungry"]
    ET.fromstring(plot)  # noqa: S314  # our own
    assert "memory: 60.0 MiB of 60.0 MiB" in plot
    line = re.search(r'<polyline points="([^"]*)"', plot)
    assert line is not None
    points = [tuple(map(float, point.split(","))) for point in line[1].split()]
    assert len(points) >= 5
    # Later and higher, which is less in an image's coordinates.
    assert points == sorted(points)
    assert points[-1][1] < points[len(points) // 2][1] < points[0][1]
