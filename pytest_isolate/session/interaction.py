"""Who is at the terminal while tests run: `-s`, live logs, the debugger, a shell; or nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import final

from pytest_isolate._compat import capture
from pytest_isolate.options import wants_shell

if TYPE_CHECKING:
    import pytest


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """What the tests of a session share the terminal with.

    It is decided with the first test, when pytest's plugin of live logs is there.
    """

    debugger: bool  #: pytest's, which takes the terminal from inside a test
    shells: bool  #: one is opened for each failure, in the test's sandbox
    live: bool  #: whether tests write to the terminal while they run, in between the reports

    @classmethod
    def of(cls, config: pytest.Config) -> Interaction:
        """Return what the options of *config* ask for."""
        debugger, shells = wants_debugger(config), wants_shell(config)
        live = debugger or shells or capture.talks_live(config)
        return cls(debugger=debugger, shells=shells, live=live)

    @property
    def attended(self) -> bool:
        """Whether somebody looks at a failure before the test goes on."""
        return self.debugger or self.shells


def wants_debugger(config: pytest.Config) -> bool:
    """Return whether the debugger was asked for."""
    return bool(getattr(config.option, "usepdb", False) or getattr(config.option, "trace", False))
