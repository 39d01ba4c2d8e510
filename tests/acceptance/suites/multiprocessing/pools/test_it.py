from __future__ import annotations

import atexit
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import ThreadPoolExecutor
import multiprocessing
from multiprocessing.pool import ThreadPool
import os

import pytest
import work

THREADS, PROCESSES = ThreadPoolExecutor(2), ProcessPoolExecutor(1)
assert THREADS.submit(int).result() == PROCESSES.submit(int).result() == 0
POOL, THREAD_POOL = multiprocessing.Pool(1), ThreadPool(1)
assert POOL.map(work.square, [2]) == THREAD_POOL.map(work.square, [2]) == [4]
LOCK = multiprocessing.Lock()
atexit.register(POOL.terminate)


@pytest.mark.parametrize("n", range(2))
def test_threads(n):
    assert THREADS.submit(os.getpid).result(50) == os.getpid()


@pytest.mark.parametrize("n", range(2))
def test_processes(n):
    assert PROCESSES.submit(work.square, 3).result(50) == 9


@pytest.mark.parametrize("n", range(2))
def test_pool(n):
    assert POOL.map_async(work.square, [3]).get(50) == [9]


def test_thread_pool():
    assert THREAD_POOL.map_async(work.square, [3]).get(50) == [9]


def test_lock():
    with LOCK:
        pass


def test_no_process_is_there():
    assert multiprocessing.active_children() == []
