"""Who sees a test while it runs, and is told what they wait for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import final

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """What is called for one test, in order: nobody and nothing, where it is not said."""

    attended: bool = False  #: whether somebody looks at a failure before the test goes on
    shown: Callable[[], None] = lambda: None  #: a report was
    failed: Callable[[pytest.TestReport], None] = lambda _: None  #: that report, not shown yet
    debugger_opened: Callable[[], None] = lambda: None  #: it may be told twice
    debugger_closed: Callable[[], None] = lambda: None  #: as well, and where none was opened
