"""A pytest plugin that writes down all that a reporter is told, a line of JSON each, to $RECORD."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    import warnings

_FD: Final = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


def _put(
    _write: Callable[[int, bytes], int] = os.write,  # bound here: tests patch what is called
    _dumps: Callable[[Any], str] = json.dumps,
    **event: Any,
) -> None:
    data = (_dumps(event) + "\n").encode()
    assert _write(_FD, data) == len(data)


def pytest_runtest_logstart(nodeid: str, location: tuple[str, int | None, str]) -> None:
    _put(hook="start", nodeid=nodeid, location=location)


def pytest_runtest_logfinish(nodeid: str) -> None:
    _put(hook="finish", nodeid=nodeid)


@pytest.hookimpl(trylast=True)  # what the terminal's own hook makes of a report is seen
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    context: Any = getattr(report, "context", None)  # of a subtest
    _put(
        hook="report",
        nodeid=report.nodeid,
        when=report.when,
        outcome=report.outcome,
        type=type(report).__name__,
        is_tuple=isinstance(report.longrepr, tuple),
        is_text=isinstance(report.longrepr, str),
        text=report.longreprtext,
        sections=report.sections,
        properties=[[name, str(value)] for name, value in report.user_properties],
        wasxfail=getattr(report, "wasxfail", None),
        keywords=sorted(report.keywords),
        location=report.location,
        context=context and [context.msg, dict(context.kwargs)],
        extra=getattr(report, "extra_attribute", None),
    )


def pytest_warning_recorded(
    warning_message: warnings.WarningMessage,
    when: str,
    nodeid: str,
    location: tuple[str, int, str] | None,
) -> None:
    _put(
        hook="warning",
        text=str(warning_message.message),
        when=when,
        nodeid=nodeid,
        category=warning_message.category.__name__,
        file=warning_message.filename,
        line=warning_message.lineno,
        location=location,
    )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    _put(
        hook="end",
        status=int(exitstatus),
        failed=session.testsfailed,
        left=session.shouldfail,
    )
