"""pytest-steps: the steps of one generator are tests that go on where the last one has stopped.

Each isolated step has the function to itself, so the steps before it are run again first.
"""

from __future__ import annotations

from contextlib import suppress
from functools import wraps
import sys
from typing import TYPE_CHECKING
from typing import Any

import pytest

from pytest_isolate.integrations.presence import registered

if TYPE_CHECKING:
    from collections.abc import Callable


def enter(config: pytest.Config) -> None:
    """Let a step come after those before it, in this process."""
    if registered(config, "pytest_steps.plugin") is None:
        return
    module: Any = sys.modules["pytest_steps.steps_generator"]
    module.StepsMonitor.execute = _after_others(module.StepsMonitor.execute)


def _after_others(execute: Callable[..., None]) -> Callable[..., None]:
    """Return *execute*, which runs one step of a monitor, with the steps before it."""

    @wraps(execute)
    def executed(monitor: Any, step: str, *arguments: Any) -> None:  # noqa: ANN401
        __tracebackhide__ = True
        for other in monitor.steps[: monitor.steps.index(step)]:
            # How it ends is told by its own test; the monitor takes note of it.
            with suppress(Exception, pytest.skip.Exception, pytest.fail.Exception):
                execute(monitor, other, *arguments)
        execute(monitor, step, *arguments)

    return executed
