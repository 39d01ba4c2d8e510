"""pytest-reportlog has every report once, and the figures."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_log_has_every_report_once(suite: Suite) -> None:
    suite.write({
        "a": "import warnings\ndef test_a(): warnings.warn('x')\ndef test_b(): assert 0\n"
    })
    path = suite.directory / "log.jsonl"
    logs = []
    for arguments in ([], ["--isolate"]):
        suite.run(*arguments, "-p", "pytest_reportlog.plugin", f"--report-log={path}")
        lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        logs.append([
            (one.get("$report_type"), one.get("nodeid"), one.get("when"), one.get("outcome"))
            for one in lines
        ])

    assert logs[1] == logs[0]
