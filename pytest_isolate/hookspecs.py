"""Hooks that this plugin calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pytest_isolate.policy.model import Policy
    from pytest_isolate.sandbox.outcome import Outcome
    from pytest_isolate.sandbox.outcome import Usage


@pytest.hookspec(firstresult=True)
def pytest_isolate_policy(item: pytest.Item, policy: Policy) -> Policy | None:
    """Adapt what *item* runs under. Stops at first non-None result.

    Called once an item, at collection, also for items that are not to be isolated
    (`policy.enabled` is false), but not under `--no-isolate`. What the marker takes,
    `policy.replace` takes as well, and it counts as asked for::

        def pytest_isolate_policy(item, policy):
            if "integration" in item.keywords:
                return policy.replace(enabled=True, memory="2G", network="host")

    :param item: The item.
    :param policy: Its policy by default, ini file, command line and markers.
    :returns: The policy to use, or `None` to leave it to others.
    """


@pytest.hookspec
def pytest_isolate_finished(item: pytest.Item, outcome: Outcome, usage: Usage) -> None:
    """See how an isolated *item* ended.

    Called in the pytest process (under xdist the worker's), after the item's last report.

    :param item: The item.
    :param outcome: How its process ended: `Exited`, `Signaled`, `OutOfMemory`,
        `MemoryExceeded`, `TimedOut` or `SetupFailed`. A test that fails by itself is `Exited` too.
    :param usage: What it has used.
    """
