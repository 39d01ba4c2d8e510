"""What a sandbox lacks and its test may have run into, told below the report of a test that fails.

A test sees an errno where the machine has none, and so do the programs that it starts.
"""

from __future__ import annotations

from dataclasses import dataclass
import errno
import grp
import os
import pathlib
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.child.denials import TITLE
from pytest_isolate.sandbox.shortfalls import Form

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence

    import pytest

    from pytest_isolate.sandbox.features import Capabilities
    from pytest_isolate.sandbox.shortfalls import Shortfall

_ONE_ID: Final = "one id"


def beyond(shortfalls: Sequence[Shortfall], capabilities: Capabilities) -> str:
    """Return the header's line of a sandbox's *shortfalls* that the trial did not have, or "".

    The trial has no project of its own, and not what is put back with it.
    """
    told = "; ".join(entry.lacks for entry in capabilities.values())
    new = [line for line in map(str, shortfalls) if line not in told]
    return f"isolate: {'; '.join(new)}" if new else ""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacles:
    """What is in the way in one sandbox."""

    read_only: tuple[Shortfall, ...] = ()  #: what cannot be written to inside
    one_id: bool = False  #: whether only the caller's own ids exist in it
    project: tuple[str, ...] = ()  #: directories of the code under test

    @classmethod
    def of(
        cls, shortfalls: Sequence[Shortfall], capabilities: Capabilities, project: tuple[str, ...]
    ) -> Obstacles:
        """Return those of a sandbox with *shortfalls* on a machine of *capabilities*."""
        return cls(
            read_only=tuple(one for one in shortfalls if one.form is Form.READ_ONLY),
            one_id=capabilities["userns"].how == _ONE_ID,
            project=project,
        )

    def tell(self, report: pytest.TestReport) -> None:
        """Add a section to *report*, of a failure, if something was in its way."""
        if lines := [*self._lines(report)]:
            report.sections.append((TITLE, "\n".join(lines)))

    def _lines(self, report: pytest.TestReport) -> Iterator[str]:
        for one in self.read_only:
            yield f"{one}: what `writable` names is written through to the host."
        if self.one_id and _says(report, os.strerror(errno.EOVERFLOW)):
            yield self._overflow()

    def _overflow(self) -> str:
        """Explain what the kernel says where an owner has no id in the sandbox's user namespace."""
        group = next(filter(None, map(_foreign_group, self.project)), "GROUP")
        ids = f"user {os.geteuid()} and group {os.getegid()}"
        return (
            f"{os.strerror(errno.EOVERFLOW)} (EOVERFLOW): without root only {ids} exist in a"
            " sandbox, and nothing can be written below what belongs to others."
            f' Make the project\'s group yours: sg {group} -c "pytest ..."'
        )


def _says(report: pytest.TestReport, words: str) -> bool:
    return words in report.longreprtext or any(words in text for _, text in report.sections)


def _foreign_group(path: str) -> str:
    """Return the group that the directory *path* belongs to, if it is not the caller's own."""
    try:
        gid = pathlib.Path(path).stat().st_gid
    except OSError:
        return ""
    if gid == os.getegid():
        return ""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
