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


def write(suite: Suite, source: str) -> None:
    suite.write({
        "work.py": WORK,
        "conftest.py": "import sys, os; sys.path.insert(0, os.path.dirname(__file__))",
        "it": source,
    })


@pytest.mark.parametrize("method", METHODS)
def test_processes_start_after_the_parent_has_started_some(suite: Suite, method: str) -> None:
    source = """
        import multiprocessing, os, pytest
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import shared_memory
        import work
        multiprocessing.set_start_method(METHOD)

        def use():
            with multiprocessing.Pool(1) as pool: assert pool.map(work.square, [2]) == [4]
            shared = shared_memory.SharedMemory(create=True, size=10)
            shared.close(); shared.unlink()

        def test_plain(): use()

        @pytest.mark.isolated(timeout=100)
        def test_pool(): use()

        @pytest.mark.isolated(timeout=100)
        def test_process():
            queue = multiprocessing.Queue()
            process = multiprocessing.Process(target=work.where, args=(queue,))
            assert process.name == "Process-1"
            process.start()
            pid, namespace = queue.get()
            process.join()
            assert namespace == os.readlink("/proc/self/ns/pid")

        @pytest.mark.isolated(timeout=100)
        def test_manager():
            with multiprocessing.Manager() as manager: assert manager.dict(a=1)["a"] == 1

        @pytest.mark.isolated(timeout=100)
        def test_executor():
            with ProcessPoolExecutor(1) as pool: assert pool.submit(work.square, 3).result() == 9

        def test_plain_again(): use()
    """
    write(suite, source.replace("METHOD)", f"{method!r})"))
    run = suite.run("-Wignore:::multiprocessing")
    assert (run.status, run.stderr) == (0, "")
    assert "6 passed" in run.output


def test_pools_and_executors_of_a_module_work_in_each_test(suite: Suite) -> None:
    source = """
        import atexit, multiprocessing, os
        from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
        from multiprocessing.pool import ThreadPool
        import pytest, work
        THREADS, PROCESSES = ThreadPoolExecutor(2), ProcessPoolExecutor(1)
        assert THREADS.submit(int).result() == PROCESSES.submit(int).result() == 0
        POOL, THREAD_POOL = multiprocessing.Pool(1), ThreadPool(1)
        assert POOL.map(work.square, [2]) == THREAD_POOL.map(work.square, [2]) == [4]
        LOCK = multiprocessing.Lock()
        atexit.register(POOL.terminate)

        @pytest.mark.parametrize("n", range(2))
        def test_threads(n): assert THREADS.submit(os.getpid).result(50) == os.getpid()
        @pytest.mark.parametrize("n", range(2))
        def test_processes(n):
            assert PROCESSES.submit(work.square, 3).result(50) == 9
        @pytest.mark.parametrize("n", range(2))
        def test_pool(n): assert POOL.map_async(work.square, [3]).get(50) == [9]
        def test_thread_pool(): assert THREAD_POOL.map_async(work.square, [3]).get(50) == [9]
        def test_lock():
            with LOCK: pass
        def test_no_process_is_there(): assert multiprocessing.active_children() == []
    """
    write(suite, source)
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
    write(suite, source)
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
    write(suite, source)
    run = suite.run("-Wignore:::multiprocessing")
    assert run.status == 0
    assert "3 passed" in run.output
