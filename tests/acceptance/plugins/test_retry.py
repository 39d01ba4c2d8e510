"""pytest-retry runs a test again in its sandbox, and reports each attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


@pytest.mark.parametrize("arguments", ["--retries=2", "--retries=1 -v"])
def test_attempts_are_those_of_a_plain_run(arguments: str, suite: Suite) -> None:
    suite.write({
        "a": """
            import pytest

            TRIED = []
            def test_flaky():
                TRIED.append(1)
                assert len(TRIED) == 2
            def test_fails(): assert 0
            @pytest.mark.flaky(retries=3)
            def test_marked():
                TRIED.append(1)
                assert len(TRIED) > 4
            def test_passes(): pass
        """
    })
    # What a test leaves in its module is there for the next one in a plain run only.
    one_by_one = [
        suite.twice("-p", "pytest_retry.retry_plugin", *arguments.split(), f"test_a.py::{name}")
        for name in ("test_flaky", "test_fails", "test_marked", "test_passes")
    ]

    for plain, isolated in one_by_one:
        assert isolated == plain
    assert "1 passed, 1 retried" in one_by_one[0][0].output
