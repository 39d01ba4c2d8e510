"""What every hook of a reporter was told, in order, and by which process."""

from __future__ import annotations

import os
from pathlib import Path

PID, NOTES = os.getpid(), []


def note(*words):
    NOTES.append((*words, os.getpid() == PID))
    print("noted", *words)


def pytest_runtest_logstart(nodeid):
    note("start", nodeid)


def pytest_runtest_logreport(report):
    note("report", report.nodeid, report.when)


def pytest_runtest_logfinish(nodeid):
    note("finish", nodeid)


def pytest_report_teststatus(report):
    note("status", report.nodeid, report.when)
    if report.when == "call" and report.passed:
        return "passed", "+", "GOOD"
    if report.when == "call" and report.failed:
        return "failed", "-", ("BAD", {"red": True})
    return None


def pytest_exception_interact(node, call, report):
    last = call.excinfo.traceback[-1]
    note(
        "interact",
        node.nodeid,
        report.when,
        call.excinfo.typename,
        call.excinfo.exconly(tryshort=True),
        last.path.name,
        last.lineno,
    )
    report.sections.append(("Screenshot", "see shot.png"))


def pytest_sessionfinish():
    Path("notes").write_text("\n".join(map(repr, NOTES)))
