"""What a plain run goes on after as if nothing had been."""

from __future__ import annotations

import multiprocessing
from multiprocessing import shared_memory
import os
import signal
import sys
import threading
import time

import pytest


def square(x):
    return x * x


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pool(method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(square, [1, 2]) == [1, 4]


def test_shared_memory():
    shared = shared_memory.SharedMemory(create=True, size=100)
    shared.buf[0] = 1
    shared.close()
    shared.unlink()


def test_child_fails():
    if os.fork() == 0:
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 4


def test_daemon_thread():
    threading.Thread(target=time.sleep, args=(50,), daemon=True).start()


def test_thread_leaves():
    thread = threading.Thread(target=sys.exit, args=(3,), name="own")
    thread.start()
    thread.join()


def test_thread_raises():
    thread = threading.Thread(target=lambda: 1 / 0, name="own")
    thread.start()
    thread.join()


def test_endless_recursion():
    def again():
        again()

    with pytest.raises(RecursionError):
        again()


def test_handled_signal():
    signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
    os.kill(os.getpid(), signal.SIGUSR1)
    assert 0


def test_current_directory_is_gone(tmp_path, monkeypatch):
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    place.rmdir()
    assert os.path.exists(".")
