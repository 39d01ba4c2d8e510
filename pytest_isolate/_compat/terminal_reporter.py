"""What is on the terminal, and what its reporter knows of that."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING
from typing import Any

from _pytest._io import TerminalWriter

if TYPE_CHECKING:
    import pytest


def cursor(config: pytest.Config) -> dict[str, Any]:
    """Return where on its line the terminal is: reports that follow are aligned by it."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return {}
    return {"line": reporter._tw._current_line, "ended": reporter.currentfspath is None}


def move_cursor(config: pytest.Config, line: str, *, ended: bool) -> None:
    """Let the terminal reporter know that another process has left its cursor there."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter._tw._current_line = line
        if ended:
            reporter.currentfspath = None


def end_line(config: pytest.Config) -> None:
    """End the line that the terminal reporter is on, so that others can write to the terminal."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        reporter.ensure_newline()
        reporter._tw.flush()


def is_shown_by_debugger(report: Any) -> bool:  # noqa: ANN401  # of a test or a collection
    """Return whether --pdb has shown *report*."""
    return getattr(report, "_pdbshown", False)


def note_shown_by_debugger(report: Any) -> None:  # noqa: ANN401  # the attribute is not declared
    """Let the terminal reporter leave *report* out of its summary: --pdb has shown it."""
    report._pdbshown = True


def render(longrepr: Any) -> str:  # noqa: ANN401  # anything with a toterminal
    """Return *longrepr* with the terminal's escape sequences."""
    file = io.StringIO()
    writer = TerminalWriter(file)
    writer.hasmarkup = True
    longrepr.toterminal(writer)
    return file.getvalue()
