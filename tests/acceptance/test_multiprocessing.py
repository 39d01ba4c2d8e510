"""multiprocessing and concurrent.futures in tests, after pytest's process has used them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

pytestmark = pytest.mark.needs("sandbox")

METHODS: Final = ("fork", "forkserver", "spawn")
OPTIONS: Final = ("--isolate", "--isolate-timeout=30")
WORK: Final = """
    import os
    def square(n): return n * n
    def where(queue): queue.put([os.getpid(), os.readlink("/proc/self/ns/pid")])
"""


@pytest.fixture
def suite(suite: Suite) -> Suite:
    """Return a suite with work that other processes can import."""
    suite.write({
        "work.py": WORK,
        "conftest.py": "import sys, os; sys.path.insert(0, os.path.dirname(__file__))",
    })
    return suite


@pytest.mark.parametrize("method", METHODS)
def test_processes_start_after_the_parent_has_started_some(suite: Suite, method: str) -> None:
    suite.copy("multiprocessing/methods")
    run = suite.run("-Wignore:::multiprocessing", METHOD=method)
    assert (run.status, run.stderr) == (0, "")
    assert "6 passed" in run.output


def test_pools_and_executors_of_a_module_work_in_each_test(suite: Suite) -> None:
    suite.copy("multiprocessing/pools")
    run = suite.run(*OPTIONS, "-Wignore:::multiprocessing")
    assert (run.status, run.stderr) == (0, "")
    assert "9 passed" in run.output


def test_what_a_test_leaves_is_ended_with_it(suite: Suite) -> None:
    source = """
        import multiprocessing, time, work
        multiprocessing.Queue()
        def test_pool():
            global POOL
            POOL = multiprocessing.Pool(1)
            assert POOL.map(work.square, [3]) == [9]
        def test_daemon():
            multiprocessing.Process(target=time.sleep, args=(99,), daemon=True).start()
    """
    suite.write({"it": source})
    run = suite.run(*OPTIONS)
    assert (run.status, run.stderr) == (0, "")


def test_what_the_parent_has_is_not_ended_by_a_test(suite: Suite) -> None:
    source = """
        import multiprocessing, pytest, work
        QUEUE, POOL = multiprocessing.Queue(), multiprocessing.Pool(1)
        MANAGER = multiprocessing.Manager()
        SHARED = MANAGER.list([1])
        def test_plain():
            QUEUE.put(1)
            assert QUEUE.get(timeout=50) == 1
        @pytest.mark.isolated
        def test_isolated(): import gc; gc.collect()
        def test_plain_again():
            assert POOL.map_async(work.square, [3]).get(50) == [9]
            assert SHARED[:] == [1]
            QUEUE.put(1)
            assert QUEUE.get(timeout=50) == 1
            POOL.terminate()
    """
    suite.write({"it": source})
    run = suite.run("-Wignore:::multiprocessing")
    assert run.status == 0
    assert "3 passed" in run.output
