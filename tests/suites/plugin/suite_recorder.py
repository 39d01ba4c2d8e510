"""A pytest plugin that writes down what pytest's process is told of tests, a JSON line each."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

RECORD = "SUITE_RECORD"
#: What isolation adds, and no plain run has.
OURS = "isolate."


class Recorder:
    """It is bound to what it calls: suites patch `os`, `open` and the clock."""

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115  # as long as pytest
        self._dumps = json.dumps
        self._pid, self._getpid = os.getpid(), os.getpid

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write down all that a reporter may show of *report*, but for its duration."""
        if self._getpid() != self._pid:
            return
        context: Any = getattr(report, "context", None)  # of a subtest
        told = {
            "nodeid": report.nodeid,
            "when": report.when,
            "outcome": report.outcome,
            "wasxfail": getattr(report, "wasxfail", None),
            "last": report.longreprtext.rpartition("\n")[2],
            # Not their texts: there are process ids, ports and times in them.
            "sections": [name for name, _ in report.sections],
            "properties": [name for name, _ in report.user_properties if not name.startswith(OURS)],
            "subtest": None if context is None else [str(context.msg), repr(context.kwargs)],
        }
        self._file.write(self._dumps(told) + "\n")
        self._file.flush()


def pytest_configure(config: pytest.Config) -> None:
    """Record this run, and not the runs within its tests."""
    path = os.environ.pop(RECORD, None)
    if path is not None:
        config.pluginmanager.register(Recorder(path))
