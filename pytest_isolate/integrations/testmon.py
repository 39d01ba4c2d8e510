"""pytest-testmon: what a test runs is measured in its process, and told with its last report.

It gathers the tests of a batch first. Here each test is a batch of its own; in pytest's process an
isolated one is none, or it would be taken for a test that runs nothing, and not run again.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    import pytest


def _collector(config: pytest.Config) -> Any:  # noqa: ANN401  # testmon's
    """Return what measures the test that is about to run, or `None`."""
    plugin: Any = config.pluginmanager.get_plugin("TestmonCollect")
    collector = getattr(plugin, "testmon", None)
    return collector if getattr(collector, "cov", None) is not None else None


def begins(item: pytest.Item) -> None:
    """Keep *item* out of what is measured in this process, pytest's."""
    if (collector := _collector(item.config)) is not None:
        collector.cov.switch_context("")
        collector.batched_test_names.discard(item.nodeid)


def enter(item: pytest.Item) -> None:
    """Measure *item* alone in this process."""
    if (collector := _collector(item.config)) is None:
        return
    module: Any = sys.modules["testmon.testmon_core"]
    module.TEST_BATCH_SIZE = 1
    collector.batched_test_names = {item.nodeid}
    collector.cov.stop()
    collector.cov.erase()
    collector.cov.start()
    collector.cov.switch_context(item.nodeid)
