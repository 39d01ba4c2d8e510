"""What was open when a test began and is shut in its sandbox, told below the report of a failure.

What is written to `/dev/null` is gone without a word, and nothing is ever read from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import errno
import os
from typing import TYPE_CHECKING
from typing import Final
from typing import final

import pytest

from pytest_isolate.child.denials import TITLE
from pytest_isolate.sandbox.launch.descriptors import Kind

if TYPE_CHECKING:
    from collections.abc import Generator

    from pytest_isolate.sandbox.launch.descriptors import Covered

#: Every pytest has some of these, or they do no harm: told only where a failure has such words.
_WORDS: Final = {
    Kind.SOCKET: os.strerror(errno.ENOTSOCK),
    Kind.DIRECTORY: os.strerror(errno.ENOTDIR),
    Kind.COPY: "readonly database",
}
_TOLD: Final = {*_WORDS, Kind.FILE, Kind.DISK}
#: How many lines one report has.
_MOST: Final = 20


@final
@dataclass(frozen=True, slots=True, eq=False)
class Doors:
    """A plugin of a test process; it is true if there is anything that it might tell."""

    covered: list[Covered] = field(default_factory=list)

    def __bool__(self) -> bool:
        """Return whether anything is to be told, should the test fail."""
        return any(one.kind in _TOLD for one in self.covered)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add a section to the report of a failure."""
        report = yield
        if report.failed and (lines := self.lines(report.longreprtext)):
            report.sections.append((TITLE, "\n".join(lines)))
        return report

    def lines(self, text: str) -> list[str]:
        """Return a line for each that may be behind the failure that *text* tells of."""
        told = [
            line(one)
            for one in self.covered
            if one.kind in _TOLD and _WORDS.get(one.kind, "") in text
        ]
        more = len(told) - _MOST
        return [*told[:_MOST], f"and {more} more"] if more > 0 else told


def line(one: Covered) -> str:
    """Return what *one* is, what became of it, why, and what to do."""
    what = f"{one.path} (descriptor {one.fd})" if one.path else f"a {one.kind} ({one.fd})"
    if one.kind is Kind.COPY:
        done = "a copy"
    else:
        done = "open for reading only" if one.readable else "/dev/null"
    return f"{what}: {done} in this test, for {one.why}. Open it in the test, or in a fixture."
