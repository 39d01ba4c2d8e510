"""The hungriest tests of a session, for its end: what caps to set is best known from it. Pure.

The figures are read from the reports' `user_properties`, so they may come from other processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.policy.sizes import format_size

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import Mapping

    import pytest

_NONE: Final = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemUsage:
    """What one test has used; `None` where it was not counted."""

    nodeid: str
    wall_seconds: float
    cpu_seconds: float | None = None
    memory_peak: int | None = None  #: bytes
    memory_cap: int | None = None  #: bytes

    def line(self) -> str:
        """Return the line of this test."""
        peak = _NONE if self.memory_peak is None else format_size(self.memory_peak)
        cap = "no cap" if self.memory_cap is None else f"of {format_size(self.memory_cap)}"
        cpu = _NONE if self.cpu_seconds is None else f"{self.cpu_seconds:.2f} s"
        wall = f"{self.wall_seconds:.2f} s"
        return f"{peak:>10} {cap:<13} {cpu:>9} CPU {wall:>9} wall  {self.nodeid}"


def usages(reports: Iterable[pytest.TestReport]) -> Iterator[ItemUsage]:
    """Yield what the isolated tests among *reports* have used."""
    for report in reports:
        if getattr(report, "when", None) == "teardown":
            told = dict(report.user_properties)
            wall = _number(told, "wall_seconds")
            if wall is not None:
                yield ItemUsage(
                    nodeid=report.nodeid,
                    wall_seconds=wall,
                    cpu_seconds=_number(told, "cpu_seconds"),
                    memory_peak=_whole(told, "memory_peak"),
                    memory_cap=_whole(told, "memory_cap"),
                )


def _number(told: Mapping[str, object], name: str) -> float | None:
    value = told.get(f"isolate.{name}")
    return value if isinstance(value, int | float) else None


def _whole(told: Mapping[str, object], name: str) -> int | None:
    value = told.get(f"isolate.{name}")
    return value if isinstance(value, int) else None


def largest(usages: Iterable[ItemUsage], number: int) -> list[ItemUsage]:
    """Return the *number* that took the most memory, or else CPU time; 0 is all of them."""
    ordered = sorted(
        usages, key=lambda one: (-(one.memory_peak or 0), -(one.cpu_seconds or 0), one.nodeid)
    )
    return ordered[:number] if number else ordered


def title(number: int) -> str:
    """Return the section's title, in the words of `--durations`."""
    return f"hungriest {number} tests" if number else "hungriest tests"
