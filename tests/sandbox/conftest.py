"""What the tests on the real kernel need of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from pytest_isolate.sandbox.capabilities import Capability


@pytest.fixture(scope="session")
def require() -> Callable[[Capability], None]:
    """Skip the test if a capability cannot be had here; in CI that is a failure."""

    def require(capability: Capability) -> None:
        if not capability.available:
            reason = f"{capability.name}: {capability.why}"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)

    return require


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Start a keeper for the tests of a module."""
    pool = Pool.start()
    yield pool
    pool.close()
