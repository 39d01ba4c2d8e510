from __future__ import annotations

import asyncio
import atexit
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures import ThreadPoolExecutor
import multiprocessing
import multiprocessing.util  # noqa: F401  # so that its finalizers are called at exit
import os
import sys
import threading
import time
import weakref

import pytest


class Owner:
    pass


KEPT = Owner()
weakref.finalize(KEPT, print, "the parent's")


def for_ever():
    while True:
        time.sleep(0.1)


def busy():
    while True:
        pass


def test_function_that_sleeps():
    atexit.register(for_ever)


def test_function_that_spins():
    atexit.register(busy)


def test_function_that_joins_a_thread():
    thread = threading.Thread(target=for_ever, daemon=True, name="looper")
    thread.start()
    atexit.register(thread.join)


def test_thread():
    threading.Thread(target=for_ever, name="looper").start()


def test_executor():
    KEPT.pool = ThreadPoolExecutor(thread_name_prefix="looper")
    KEPT.pool.submit(for_ever)


def test_asyncio():
    async def main():
        asyncio.get_running_loop().run_in_executor(None, for_ever)

    KEPT.loop = asyncio.new_event_loop()
    KEPT.loop.run_until_complete(main())


def test_process():
    multiprocessing.Process(target=for_ever, name="looper").start()


def test_processes():
    KEPT.pool = ProcessPoolExecutor(1)
    KEPT.pool.submit(for_ever)


def test_queue():
    KEPT.queue = multiprocessing.Queue()
    KEPT.queue.put(b"x" * 1_000_000)


def test_finalizer():
    weakref.finalize(KEPT, for_ever)


def test_function_that_raises():
    atexit.register(int, "no number")


def test_finalizer_that_raises():
    weakref.finalize(KEPT, int, "no number")


def test_thread_that_raises():
    def run():
        time.sleep(0.1)
        int("no number")

    threading.Thread(target=run).start()


def test_idle_executor():
    KEPT.pool = ThreadPoolExecutor()
    KEPT.pool.submit(time.sleep, 0.1)


def test_idle_pool():
    KEPT.pool = multiprocessing.Pool(1)


def test_daemons():
    threading.Thread(target=for_ever, daemon=True).start()
    multiprocessing.Process(target=for_ever, daemon=True).start()


def test_function_that_exits():
    atexit.register(sys.exit, 3)


def test_function_that_leaves():
    atexit.register(os._exit, 0)


def test_after_all():
    pass


def test_function_that_leaves_with_a_status():
    atexit.register(os._exit, 3)


def test_function_that_crashes():
    def crash():
        os.abort()

    atexit.register(crash)


@pytest.mark.isolated(timeout=0.3)
def test_limit_comes_first():
    atexit.register(for_ever)
