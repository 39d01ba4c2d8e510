"""Every kind of `pytest_runtest_protocol`, each noting its turn."""

from __future__ import annotations

import os

import pytest

PID, TURNS = os.getpid(), []


def turn(name, item):
    TURNS.append((name, item.name, os.getpid() == PID))


class First:
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item):
        turn("first", item)

    def pytest_runtest_logstart(self):
        TURNS.append("start")

    def pytest_runtest_logfinish(self):
        TURNS.append("finish")

    def pytest_warning_recorded(self, warning_message):
        TURNS.append(str(warning_message.message))


class Last:
    @pytest.hookimpl(trylast=True)
    def pytest_runtest_protocol(self, item):
        turn("last", item)


class Old:
    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item):
        turn("old before", item)
        result = yield
        turn(f"old after {result.get_result()}", item)


def pytest_configure(config):
    for kind in (First, Last, Old):
        config.pluginmanager.register(kind())


def pytest_runtest_protocol(item, nextitem):
    turn(f"conftest before {nextitem and nextitem.name}", item)


def pytest_terminal_summary(terminalreporter):
    for one in TURNS:
        terminalreporter.write_line(repr(one))
