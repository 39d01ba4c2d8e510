"""Tests of coroutines, by the plugin of anyio, are the same in a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_coroutines_run(suite: Suite) -> None:
    suite.write({
        "a": """
            import anyio, pytest

            @pytest.fixture
            def anyio_backend(): return "asyncio"
            @pytest.fixture
            async def number():
                await anyio.sleep(0)
                yield 7
                print("finalised")
            @pytest.mark.anyio
            async def test_fixture(number): assert number == 7
            @pytest.mark.anyio
            async def test_failure(number): assert number == 8
        """
    })

    plain, isolated = suite.twice("-p", "anyio.pytest_plugin", "-rA")

    assert isolated == plain
    assert plain.outcomes("test_failure")["call"] == "failed"
