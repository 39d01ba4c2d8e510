"""Reports that pytest's own hook makes, in the parent, of phases that ended elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_isolate._compat import hookimpls
from pytest_isolate.transfer import caught_warnings
from pytest_isolate.transfer import stop_requests

if TYPE_CHECKING:
    from pytest_isolate.transfer.reports import When


def call(
    when: When, error: BaseException | None, since: float | None = None, place: object = None
) -> pytest.CallInfo[None]:
    """Return the call of a phase that began at *since* and ended with *error*.

    *place* is where it was raised: path, line and the function's name.
    """

    def end() -> None:
        if error is not None:
            match place:
                case [str(path), int(line), str(name)]:
                    stop_requests.raise_at(error, path, line, name)
                case _:
                    raise error

    made: pytest.CallInfo[None] = pytest.CallInfo.from_call(end, when=when)
    if since is not None:
        made.start, made.duration = since, made.stop - since
    return made


def make(
    item: pytest.Item, when: When, error: BaseException | None, since: float | None = None
) -> pytest.TestReport:
    """Return the report of a phase that began at *since* and ended with *error*."""
    report: pytest.TestReport = item.ihook.pytest_runtest_makereport(
        item=item, call=call(when, error, since)
    )
    return report


def fail(item: pytest.Item, when: When, text: str, since: float | None = None) -> pytest.TestReport:
    """Return the report of a phase that failed because of *text*, unless that is expected."""
    failed = make(item, when, pytest.fail.Exception(text, pytrace=False), since)
    if failed.failed:
        # As text, so that the line opens the message in summaries and in junitxml.
        failed.longrepr = text
    return failed


def interact(item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Let other plugins look at the failure that *call* ended in, as `pytest_exception_interact`.

    The debugger, which is pytest's own, has looked where the test was. Fixtures are not here, so a
    hook that wants one can fail, which is told and ends nothing.
    """
    try:
        hookimpls.of_others(item, "pytest_exception_interact")(node=item, call=call, report=report)
    except Exception as error:  # noqa: BLE001  # anybody's code
        kind = type(error).__name__
        msg = (
            f"pytest_exception_interact of a plugin or conftest failed for {item.nodeid}: {kind}:"
            f" {error}. It runs in pytest's process, where an isolated test's fixtures are not"
        )
        caught_warnings.tell(item, msg)
