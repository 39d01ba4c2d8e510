"""Plugins that run a test again: pytest-rerunfailures and flaky.

Both decide in pytest's process, by which exception left a phase. The test process tells it, and a
stand-in for the exception is shown to them.
"""

# ruff: noqa: SLF001  # they have no public way to be told

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import final

import pluggy
import pytest

from pytest_isolate._compat import hookimpls
from pytest_isolate.transfer import reports as wire
from pytest_isolate.transfer import surrogates
from pytest_isolate.transfer import synthetic
from pytest_isolate.wire.frames import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Generator
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import Sequence
    from types import ModuleType

    from pytest_isolate.wire.frames import Json

#: The event that tells how a phase was left.
LEFT: Final = "left"


@final
class ExceptionRecorder:
    """A plugin in a test process that tells how the phases were left."""

    def __init__(self, send: Callable[[Event], None]) -> None:
        self._send = send

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Tell which exception has left the phase."""
        report = yield
        if wire.is_main(report):
            error = None if call.excinfo is None else call.excinfo.value
            parts = _failed_parts(item)
            change = {"when": call.when, "chain": list(surrogates.chain(error)), "parts": parts}
            self._send(Event(LEFT, change))
        return report


def _stand_in(change: Json, report: pytest.TestReport) -> BaseException | None:
    """Return something for the exception that left a phase, or `None` if there was none."""
    error = surrogates.of_chain(change.get("chain", ()))
    if error is None and report.failed:
        return pytest.fail.Exception(report.longreprtext, pytrace=False)
    return error


def _calls(
    reports: Iterable[pytest.TestReport], left: dict[str, Json]
) -> Iterator[tuple[pytest.TestReport, pytest.CallInfo[None]]]:
    """Yield *reports*, each with the call that it was made of."""
    for report in reports:
        error = _stand_in(left.get(str(report.when), {}), report)
        yield report, synthetic.call(report.when, error)


# --- pytest-rerunfailures ---


def _failed_parts(item: pytest.Item) -> int:
    """Return how many subtests of *item* have failed here, as pytest-rerunfailures counts them."""
    module: Any = sys.modules.get("pytest_rerunfailures")
    count = getattr(module, "_get_num_failed_subtests", None)
    return 0 if count is None else int(count(item))


class _Spec:
    @pytest.hookspec(firstresult=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> object:
        """Make a report, as pytest's hook."""


@final
class _Made:
    """A plugin that has made the report already."""

    report: pytest.TestReport | None = None

    @pytest.hookimpl
    def pytest_runtest_makereport(self) -> pytest.TestReport | None:
        """Return it."""
        return self.report


@final
class Rerunfailures:
    """It decides by what it noted of the phases when their reports were made.

    So its hook is called again here, with the reports as they arrived.
    """

    def __init__(self, module: ModuleType) -> None:
        self.module: Any = module
        self._made = _Made()
        self._plugins = pluggy.PluginManager("pytest")  # where it is alone
        self._plugins.add_hookspecs(_Spec)
        self._plugins.register(module)
        self._plugins.register(self._made)

    def begins(self, _item: pytest.Item) -> None:
        """Do nothing: it reads the marker where it needs it."""

    def enter(self, item: pytest.Item) -> None:
        """Let wide fixtures be finalised in the test process, which no rerun will see."""
        hookimpls.unhook(
            item.config, ("pytest_runtest_teardown",), lambda plugin: plugin is self.module
        )

    def judge(
        self,
        item: pytest.Item,
        reports: Sequence[pytest.TestReport],
        left: dict[str, Json],
        *,
        log: bool,
    ) -> bool:
        """Let it take note of *reports*."""
        for self._made.report, call in _calls(reports, left):
            self._plugins.hook.pytest_runtest_makereport(item=item, call=call)
        parts = left.get("call", {}).get("parts", 0)
        key = getattr(self.module, "failed_subtests_key", None)
        if key is not None and isinstance(parts, int) and not log:
            counts: dict[Any, int] = item.config.stash.get(key, {})
            counts[self.module._failed_subtests_lookup_key(item)] = parts
        return False


# --- flaky ---


@final
class Flaky:
    """It replaces the function that makes a phase's report.

    There it notes how the phase was left, and keeps the report back if the test is to run again.
    """

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self._plugin: Any = module.PLUGIN
        self._original = self._plugin.runner.call_and_report

    def begins(self, item: pytest.Item) -> None:
        """Let the marker be read here as well."""
        self._plugin.pytest_runtest_setup(item)

    def enter(self, _item: pytest.Item) -> None:
        """Keep out of the test process, where every report is wanted."""
        self._plugin.runner.call_and_report = self._original

    def judge(
        self,
        item: pytest.Item,
        reports: Sequence[pytest.TestReport],
        left: dict[str, Json],
        *,
        log: bool,
    ) -> bool:
        """Let it take note of *reports*, and show those that it wants to be seen."""
        plugin = self._plugin
        calls = plugin._call_infos.get(item)
        if calls is None or not log:
            return False
        for report, call in _calls(reports, left):
            calls[report.when] = call
            if not self._keeps_back(item, report):
                item.ihook.pytest_runtest_logreport(report=report)
        return True

    def _keeps_back(self, item: pytest.Item, report: pytest.TestReport) -> bool:
        """Return whether *report* is of an attempt that does not count."""
        plugin = self._plugin
        if report.when == "teardown":
            return False
        if report.passed:
            return bool(plugin._should_handle_test_success(item))
        if report.failed:
            error, name = plugin._get_test_name_and_err(item, report.when)
            return bool(plugin._will_handle_test_error_or_failure(item, name, error))
        return False
