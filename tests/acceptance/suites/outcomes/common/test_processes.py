from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import threading

import pytest


def work(x):
    return x * x


def test_pool():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(work, [1, 2]) == [1, 4]


def test_subprocess():
    assert subprocess.check_output(["echo", "x"]) == b"x\n"


def test_alarm():
    def ring(*_):
        raise TimeoutError("rang")

    signal.signal(signal.SIGALRM, ring)
    with pytest.raises(TimeoutError):
        signal.setitimer(signal.ITIMER_REAL, 0.01)  # on a slow kernel it rings at once
        signal.pause()


def test_handled_sigterm():
    got = []
    signal.signal(signal.SIGTERM, lambda *_: got.append(1))
    os.kill(os.getpid(), signal.SIGTERM)
    assert got


def test_fork():
    pid = os.fork()
    if not pid:
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_daemon_thread():
    threading.Thread(target=signal.pause, daemon=True).start()
