"""pytest's hooks: a few lines each, which delegate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_isolate import hookspecs
from pytest_isolate import options
from pytest_isolate import rivals
from pytest_isolate import runner

if TYPE_CHECKING:
    from collections.abc import Generator
    from collections.abc import Sequence

    from pytest_isolate.guests import TimerSettings


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the hooks that this plugin calls."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add flags and ini keys, unless another plugin has the same."""
    rivals.refuse(pluginmanager)
    options.register(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, check what holds for the whole run, and be ready."""
    config.addinivalue_line("markers", options.marker_line())
    runner.configure(config)


def pytest_report_header(config: pytest.Config) -> str | None:
    """Tell what is in force, if all tests were asked for."""
    return runner.header(config)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check every item's policy, markers that other plugins added included."""
    options.check_all(config, items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Have the first sandboxes made, unless `pytest_collection_modifyitems` has just failed."""
    if options.are_checked(session.config):
        session.config.stash[runner.runner_key].expect(session.items)


def pytest_report_collectionfinish(
    config: pytest.Config, items: Sequence[pytest.Item]
) -> str | None:
    """Tell what is in force, if only some tests are isolated."""
    return runner.late_header(config, items) if options.are_checked(config) else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run the item in a sandbox, if it is to be isolated."""
    return runner.run_item(item, nextitem)


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Give other plugins what they sum up of isolated tests, before they do."""
    try:
        return (yield)
    finally:
        session.config.stash[runner.runner_key].guests.hand_over()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show what was asked for: the hungriest tests, and what tests have left behind."""
    runner.summarize(terminalreporter, config)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: TimerSettings) -> bool | None:
    """Take over the limit of an isolated test, which pytest-timeout would end the run for."""
    return runner.take_timer(item, settings)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: options.Worker) -> None:
    """Tell a worker of pytest-xdist whose it is."""
    options.tell_worker(node)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: options.Worker) -> None:
    """Raise what a worker of pytest-xdist could not."""
    options.check_worker(node)
