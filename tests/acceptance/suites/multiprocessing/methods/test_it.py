from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
import multiprocessing
from multiprocessing import shared_memory
import os

import pytest
import work

multiprocessing.set_start_method(os.environ["METHOD"])


def use():
    with multiprocessing.Pool(1) as pool:
        assert pool.map(work.square, [2]) == [4]
    shared = shared_memory.SharedMemory(create=True, size=10)
    shared.close()
    shared.unlink()


def test_plain():
    use()


@pytest.mark.isolated(timeout=100)
def test_pool():
    use()


@pytest.mark.isolated(timeout=100)
def test_process():
    queue = multiprocessing.Queue()
    process = multiprocessing.Process(target=work.where, args=(queue,))
    assert process.name == "Process-1"
    process.start()
    _pid, namespace = queue.get()
    process.join()
    assert namespace == os.readlink("/proc/self/ns/pid")


@pytest.mark.isolated(timeout=100)
def test_manager():
    with multiprocessing.Manager() as manager:
        assert manager.dict(a=1)["a"] == 1


@pytest.mark.isolated(timeout=100)
def test_executor():
    with ProcessPoolExecutor(1) as pool:
        assert pool.submit(work.square, 3).result() == 9


def test_plain_again():
    use()
