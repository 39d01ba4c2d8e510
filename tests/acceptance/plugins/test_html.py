"""pytest-html's report names every test once, with the figures."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


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
        suite.run(
            *arguments,
            "-p",
            "pytest_html.plugin",
            "-p",
            "pytest_html.fixtures",
            "-p",
            "pytest_metadata.plugin",
            f"--html={path}",
        )
        blob = re.search(r'data-jsonblob="([^"]*)"', path.read_text("utf-8"))
        assert blob is not None
        tests = json.loads(html.unescape(blob[1]))["tests"]
        rows.append({
            name: [(one["result"], len(one["extras"]), "told" in one["log"]) for one in ones]
            for name, ones in tests.items()
        })

    assert rows[1] == rows[0]
