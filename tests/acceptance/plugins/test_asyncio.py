"""Tests of coroutines, by pytest-asyncio, are the same in a sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_coroutines_run(suite: Suite) -> None:
    suite.write({
        "a": """
            import asyncio, pytest, pytest_asyncio

            @pytest_asyncio.fixture(scope="module", loop_scope="module")
            async def loop():
                yield asyncio.get_running_loop()
            @pytest.mark.asyncio(loop_scope="module")
            async def test_loop(loop): assert asyncio.get_running_loop() is loop
            @pytest.mark.asyncio
            async def test_subprocess():
                process = await asyncio.create_subprocess_exec("true")
                assert await process.wait() == 0
            async def test_automatic(): assert await asyncio.sleep(0, 1) == 2
        """
    })

    plain, isolated = suite.twice("-p", "pytest_asyncio.plugin", "--asyncio-mode=auto", "-rA")

    assert isolated == plain
    assert plain.outcomes("test_automatic")["call"] == "failed"
