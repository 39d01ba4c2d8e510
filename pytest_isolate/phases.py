"""Reports that pytest's own hook makes, in the parent, of phases that ended elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_isolate.reports import When


def call(
    when: When, error: BaseException | None, since: float | None = None
) -> pytest.CallInfo[None]:
    """Return the call of a phase that began at *since* and ended with *error*."""

    def end() -> None:
        if error is not None:
            raise error

    made = pytest.CallInfo.from_call(end, when=when)
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


def rehearse(item: pytest.Item, reports: Iterable[pytest.TestReport]) -> None:
    """Call the hook for the phases of *reports*, as it was in the test process.

    What plugins note there at a phase's report they look for at the next one's.
    """
    for report in reports:
        text = report.longreprtext
        error = pytest.fail.Exception(text, pytrace=False) if report.failed else None
        make(item, report.when, error)
