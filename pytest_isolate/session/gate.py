"""Where a test process waits until its report is shown, if what it prints comes in between."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import suppress
from dataclasses import dataclass
import os
from typing import TYPE_CHECKING
from typing import final

from pytest_isolate._compat import capture

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest


@final
@dataclass(frozen=True, slots=True)
class Gate:
    """A pipe with a byte for each report that was shown."""

    config: pytest.Config
    fd: int  #: where the test process waits, or -1: it does not
    opener: int

    def open(self) -> None:
        """Let the test process go on: its report is shown."""
        if self.opener >= 0:
            capture.flush_streams(self.config)
            with suppress(BlockingIOError):  # full: nobody waits there
                os.write(self.opener, b"+")


@contextmanager
def making_gate(config: pytest.Config, *, live: bool) -> Iterator[Gate]:
    """Make a gate for one test process, which is always open if the test is not *live*."""
    if not live:
        yield Gate(config, -1, -1)
        return
    fd, opener = os.pipe2(os.O_CLOEXEC)
    try:
        os.set_blocking(opener, False)
        yield Gate(config, fd, opener)
    finally:
        os.close(opener)
        os.close(fd)
