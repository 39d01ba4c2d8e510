"""inline-snapshot: disabled, as it disables itself with pytest-xdist.

It would change sources and remove external files by what its process has seen of the snapshots,
which for isolated tests is nothing.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from typing import Any

import pytest

from pytest_isolate.integrations.presence import registered

if TYPE_CHECKING:
    from collections.abc import Sequence


def disable(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Let `snapshot(x)` be x in this session. Raises UsageError if more was asked for."""
    if not items or registered(config, "inline_snapshot.pytest_plugin") is None:
        return
    asked = str(getattr(config.option, "inline_snapshot", None) or "disable")
    if asked != "disable" and not hasattr(config, "workerinput"):
        msg = (
            f"--inline-snapshot={asked} cannot be combined with isolated tests, which change"
            " nothing outside their sandboxes: add --no-isolate"
        )
        raise pytest.UsageError(msg)
    module: Any = sys.modules.get("inline_snapshot._global_state")
    state = module.state()
    state.active = False
    state.disable_reason = "isolate"
