"""What a partial sandbox refused, told below the report of the test that failed for it.

Landlock answers EACCES, which looks as if a mode were wrong. access(2) asks for modes alone: where
it allows to write and the file is not the test's own, Landlock has the last word.
"""

from __future__ import annotations

from dataclasses import dataclass
import errno
import os
from pathlib import Path
import tempfile
from typing import TYPE_CHECKING
from typing import Final
from typing import final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator
    from collections.abc import Iterator

#: The title of the section.
TITLE: Final = "Isolation"
#: Exceptions that came from one another, at most.
_CHAIN: Final = 16
#: Other modes and other modules rule there.
_SYSTEM: Final = ("/dev", "/proc", "/sys")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Denials:
    """A plugin of a test process that may write below *writable* and its `$TMPDIR` only."""

    writable: tuple[str, ...]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Add a section to the report of a failure that a wall is behind."""
        report = yield
        if report.failed and call.excinfo is not None:
            path = next(filter(self._refuses, _denied(call.excinfo.value)), None)
            if path is not None:
                report.sections.append((TITLE, _words(path)))
        return report

    def _refuses(self, path: str) -> bool:
        try:
            place = Path(os.path.realpath(path))
        except (OSError, ValueError):  # there is no working directory, or the test made it up
            return False
        own = (*self.writable, tempfile.gettempdir(), *_SYSTEM)
        if any(place.is_relative_to(os.path.realpath(one)) for one in own):
            return False
        return os.access(place.parent, os.W_OK | os.X_OK) and (
            os.access(place, os.W_OK) or not os.access(place, os.F_OK)
        )


def _denied(error: BaseException | None) -> Iterator[str]:
    """Yield the paths that *error*, or what it came from, was refused for."""
    for _ in range(_CHAIN):
        if error is None:
            return
        if isinstance(error, PermissionError) and error.errno == errno.EACCES:
            for path in (error.filename, error.filename2):
                if isinstance(path, (str, bytes)):
                    yield os.fsdecode(path)
        error = error.__cause__ or error.__context__


def _words(path: str) -> str:
    return (
        f"{path}: a partial sandbox refuses writing there, by Landlock."
        " A test may write below $TMPDIR and tmp_path, and to what `writable` names."
    )
