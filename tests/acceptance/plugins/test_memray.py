"""pytest-memray's limits hold in an isolated test, and its table has the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


@pytest.mark.parametrize("arguments", ["--memray", "--memray --memray-bin-path=bins"])
def test_limits_and_table_are_those_of_a_plain_run(arguments: str, suite: Suite) -> None:
    suite.write({
        "a": """
            import pytest

            @pytest.mark.limit_memory("1 MB")
            def test_over(): bytearray(5_000_000)
            @pytest.mark.limit_memory("10 MB")
            def test_under(): bytearray(5_000_000)
        """
    })

    plain, isolated = suite.twice("-p", "pytest_memray.plugin", *arguments.split())

    assert isolated.outcomes("test_over") == plain.outcomes("test_over")
    assert isolated.outcomes("test_under") == plain.outcomes("test_under")
    for run in (plain, isolated):
        assert "Test was limited to 1.0MiB but allocated 4.8MiB" in run.output
        for name in ("test_over", "test_under"):
            assert f"Allocation results for test_a.py::{name} at the high watermark" in run.output
    if "bins" in arguments:
        assert len(list((suite.directory / "bins").glob("*.bin"))) == 4
