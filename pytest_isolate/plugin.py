"""pytest's hooks: a few lines each, which delegate."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING
from typing import Final

import pytest

from pytest_isolate import conflicts
from pytest_isolate import hookspecs
from pytest_isolate import options
from pytest_isolate.child import watchdogs

if TYPE_CHECKING:
    from collections.abc import Generator
    from collections.abc import Iterable
    from collections.abc import Sequence
    from pathlib import Path

    from pytest_isolate.integrations.registry import TimerSettings
    from pytest_isolate.session.runner import Runner

_runner_key = pytest.StashKey["Runner"]()
#: The header's line of a run with --no-isolate.
_OFF: Final = "isolate: off (--no-isolate)"


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the hooks that this plugin calls."""
    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Add flags and ini keys, unless another plugin has the same."""
    conflicts.refuse(pluginmanager)
    options.register(parser)
    watchdogs.install()  # before a conftest arms one


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Be prepared for the threads of C libraries that conftests and their plugins load."""
    if sys.platform == "linux" and options.asks_for_all(early_config):
        from pytest_isolate.sandbox.launch import libraries  # noqa: PLC0415  # not every run should wait

        libraries.register()


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, check what holds for the whole run, and be ready."""
    config.add_cleanup(watchdogs.remove)
    config.addinivalue_line("markers", options.marker_line())
    isolate = options.run_policy(config).enabled and not options.switched_off(config)
    if isolate and sys.platform != "linux":
        msg = f"--isolate needs Linux, and this is {sys.platform}"
        raise pytest.UsageError(msg)
    if isolate or options.wants_shell(config):
        _load(config)


def pytest_report_header(config: pytest.Config) -> str | list[str] | None:
    """Tell what is in force, if all tests were asked for, or none."""
    if options.switched_off(config):
        return _OFF
    if not options.run_policy(config).enabled:
        return None
    runner = _load(config)
    # Where workers of pytest-xdist collect, nobody else tells.
    notices = runner.notices(()) if options.distributes(config) else ()
    return [runner.header(), *notices]


@pytest.hookimpl(tryfirst=True)
def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what lies on a mount that does not answer: to look at it takes for ever."""
    is_on = options.run_policy(config).enabled and not options.switched_off(config)
    if sys.platform != "linux" or not is_on:
        return None
    from pytest_isolate.sandbox.rootfs import careful  # noqa: PLC0415  # not every run should wait

    return careful.is_silent(os.fspath(collection_path)) or None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Check every item's policy, markers that other plugins added included."""
    options.check_all(config, items)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Have the first sandboxes made, unless `pytest_collection_modifyitems` has just failed.

    Before the terminal's hook, which asks what is to be told of them.
    """
    if options.are_checked(session.config) and _are_isolated(session.items):
        _load(session.config).expect(session.items)


def pytest_report_collectionfinish(
    config: pytest.Config, items: Sequence[pytest.Item]
) -> list[str]:
    """Tell what is in force, if only some tests are isolated, and what other plugins lose."""
    if not options.are_checked(config) or not _are_isolated(items):
        return []
    runner = _load(config)
    is_told = options.run_policy(config).enabled or config.get_verbosity() < 0
    return [*([] if is_told else [runner.header()]), *runner.notices(items)]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Have the item run in a sandbox, if it is to be isolated, by who runs items."""
    policy = options.policy_of(item)
    if policy is None:
        return (yield)
    runner = _load(item.config)
    runner.take_over()
    try:
        ran = yield
    finally:
        runner.show_warnings(item)
    runner.check(item, policy)
    return ran


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtestloop(session: pytest.Session) -> Generator[None, object, object]:
    """Give other plugins what they sum up of isolated tests, before they do."""
    try:
        return (yield)
    finally:
        if _runner_key in session.config.stash:
            session.config.stash[_runner_key].integrations.hand_over()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show what was asked for: the hungriest tests, and what tests have left behind."""
    if _runner_key in config.stash or options.distributes(config):
        _load(config).summarize(terminalreporter)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: TimerSettings) -> bool | None:
    """Take over the limit of an isolated test, which pytest-timeout would end the run for."""
    policy = options.policy_of(item)
    return None if policy is None else _load(item.config).take_timer(item, policy, settings)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: options.Worker) -> None:
    """Tell a worker of pytest-xdist whose it is."""
    options.tell_worker(node)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: options.Worker) -> None:
    """Raise what a worker of pytest-xdist could not."""
    options.check_worker(node)


def _are_isolated(items: Iterable[pytest.Item]) -> bool:
    """Return whether any of *items* is to be isolated."""
    return any(options.policy_of(item) is not None for item in items)


def _load(config: pytest.Config) -> Runner:
    """Return what runs isolated tests, imported when it is needed: not every run should wait."""
    if _runner_key not in config.stash:
        from pytest_isolate.session.runner import Runner  # noqa: PLC0415  # as said above

        config.stash[_runner_key] = Runner(config)
    return config.stash[_runner_key]
