"""pytest-randomly's seed and order are the same in a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_numbers_and_order_are_the_same(suite: Suite) -> None:
    suite.write({
        "a": """
            import random

            def test_one(): assert random.random() == 1
            def test_two(): assert random.random() == 2
            def test_three(): assert random.random() == 3
        """
    })

    plain, isolated = suite.twice("-p", "pytest_randomly", "--randomly-seed=5", "-v")

    assert isolated == plain
