"""Notes of every kind, in every place, by every kind of hook; shown in the summary."""

from __future__ import annotations

import collections
import dataclasses
from datetime import date
import enum
import io
import pathlib
from typing import ClassVar

import pytest

KEY = pytest.StashKey()
PASSED, COUNTS, ORDER, TEXT = 0, collections.Counter(), [], io.StringIO()


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Line:
    name: str
    when: str
    place: pathlib.Path = pathlib.Path("x")
    day: date = date(2020, 2, 29)
    colour: Colour = Colour.RED


class Results:
    total = 0

    def __init__(self):
        self.by_item, self.seen, self.last, self.me = {}, set(), None, self


class Plugin:
    made: ClassVar = []

    def __init__(self):
        self.results, self.number, self.lines = Results(), 0, collections.deque(maxlen=3)

    def pytest_runtest_setup(self, item):
        self.number += 1
        self.lines.append(Line(item.name, "setup"))
        self.made.append((item.name, b"bytes", {1: 2}))
        Results.total += 0.5
        TEXT.write(f"{item.name} ")

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item, call):
        outcome = yield
        report = outcome.get_result()
        self.results.by_item.setdefault(item, {})[report.when] = report
        self.results.seen.add((item.name, report.when))
        self.results.last = call
        if call.excinfo:
            self.error = call.excinfo.value


def pytest_configure(config):
    config.stash[KEY] = {}
    config.pluginmanager.register(Plugin(), "my-plugin")
    config.order, config.early = [], {"to be removed": 1}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    global PASSED  # noqa: PLW0603  # some count so
    report = yield
    PASSED += report.passed
    COUNTS[report.outcome] += 1
    item.config.stash[KEY].setdefault(item.nodeid, []).append(report.when)
    if call.excinfo is not None:
        item.parent._previousfailed = item  # noqa: SLF001  # as pytest's manual does
    if not hasattr(item.session, "results"):
        item.session.results = {}
    item.session.results[item] = report
    setattr(item, "rep_" + report.when, report)
    item.config.order.append(report.when)
    item.config.early.pop("to be removed", None)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    ORDER.append("before " + item.name)
    try:
        return (yield)
    finally:
        ORDER.append("after " + item.name)


def pytest_runtest_setup(item):
    previous = getattr(item.parent, "_previousfailed", None)
    if previous is not None and item.cls:
        pytest.xfail(f"{previous.name} failed")


def pytest_runtest_teardown(item, nextitem):
    COUNTS["torn down"] += 1


def pytest_fixture_setup(fixturedef):
    COUNTS[fixturedef.argname] += 1


def pytest_runtest_logreport(report):
    COUNTS["logged"] += 1


def pytest_terminal_summary(terminalreporter, config):
    plugin = config.pluginmanager.get_plugin("my-plugin")
    session = terminalreporter._session  # noqa: SLF001  # nothing public leads there
    by_item = plugin.results.by_item
    for one in (
        PASSED,
        dict(COUNTS),
        ORDER,
        TEXT.getvalue(),
        config.stash[KEY],
        config.order,
        config.early,
        plugin.number,
        plugin.lines,
        plugin.made,
        Results.total,
        sorted(plugin.results.seen),
        plugin.results.last.when,
        plugin.results.me is plugin.results,
        type(plugin.error),
        str(plugin.error),
        {item.name: sorted(reports) for item, reports in by_item.items()},
        {item.name: report.outcome for item, report in session.results.items()},
        [item.rep_setup is by_item[item]["setup"] for item in session.items],
    ):
        terminalreporter.write_line(repr(one))
