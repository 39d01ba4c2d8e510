"""What pytest does around the phases of an item, in either process."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import nullcontext
from contextlib import suppress
from typing import TYPE_CHECKING
from typing import Any

from _pytest import runner
from _pytest.runner import check_interactive_exception
from _pytest.runner import runtestprotocol as runtestprotocol  # noqa: PLC0414  # for others
from _pytest.skipping import evaluate_xfail_marks
from _pytest.skipping import xfailed_key
from _pytest.threadexception import collect_thread_exception
from _pytest.threadexception import thread_exceptions
from _pytest.unraisableexception import collect_unraisable
from _pytest.unraisableexception import unraisable_exceptions
from _pytest.warnings import catch_warnings_for_item
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Generator
    from contextlib import AbstractContextManager


def running_protocol() -> Callable[..., list[pytest.TestReport]]:
    """Return the function that pytest calls to run an item: sessions replace it."""
    return runner.runtestprotocol


def recording_warnings(item: pytest.Item) -> AbstractContextManager[None]:
    """Return a context in which warnings go to `pytest_warning_recorded` at its end."""
    if not item.config.pluginmanager.has_plugin("warnings"):
        return nullcontext()
    return catch_warnings_for_item(config=item.config, ihook=item.ihook, when="runtest", item=item)


@contextmanager
def expecting_failure(item: pytest.Item) -> Generator[None]:
    """Let `pytest_runtest_makereport` know of xfail marks, as setup does in the test process."""
    # A condition that cannot be evaluated has failed the setup already.
    with suppress(pytest.fail.Exception):
        item.stash[xfailed_key] = evaluate_xfail_marks(item)
    yield
    with suppress(KeyError):
        del item.stash[xfailed_key]


def interact(item: pytest.Item, call: pytest.CallInfo[Any], report: pytest.TestReport) -> None:
    """Let the debugger and others look at a failure, as after a phase."""
    if check_interactive_exception(call, report):
        item.ihook.pytest_exception_interact(node=item, call=call, report=report)


def tell_uncaught(config: pytest.Config) -> None:
    """Warn of exceptions that nobody could catch, or raise the warnings where they are errors."""
    __tracebackhide__ = True
    try:
        if unraisable_exceptions in config.stash:
            collect_unraisable(config)
    finally:
        if thread_exceptions in config.stash:
            collect_thread_exception(config)
