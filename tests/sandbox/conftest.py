"""What the tests on the real kernel need of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Start a keeper for the tests of a module."""
    pool = Pool.start()
    yield pool
    pool.close()
