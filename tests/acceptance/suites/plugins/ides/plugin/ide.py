from __future__ import annotations

import json
import os

import pytest

PATHS, TOLD, PIPE = {}, set(), []


def send(path, outcome, text):
    if path in TOLD:
        return
    TOLD.add(path)
    if not PIPE:
        PIPE.append(open(os.environ["TEST_RUN_PIPE"], "wb", buffering=0))
    PIPE[0].write((json.dumps([path, outcome, text]) + "\n").encode())


def name(nodeid, path):
    return "::".join([str(path), *nodeid.split("::")[1:]])


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_protocol(item, nextitem):
    PATHS[item.nodeid] = item.path
    if item.get_closest_marker("skip"):
        send(name(item.nodeid, item.path), "skipped", None)
    return (yield)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_report_teststatus(report, config):
    if report.when == "call" or (report.when == "setup" and report.skipped):
        outcome = {"passed": "success", "failed": "failure"}.get(report.outcome, "skipped")
        text = report.longreprtext if report.failed else None
        send(name(report.nodeid, PATHS[report.nodeid]), outcome, text)
    return (yield)


def pytest_exception_interact(node, call, report):
    kind = "failure" if call.excinfo.typename == "AssertionError" else "error"
    send(name(node.nodeid, node.path), kind, report.longreprtext)
