from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
import unittest

import pytest
from wire import pipes
from wire import say

hungry = pytest.mark.isolated(memory="60M")
slow = pytest.mark.isolated(timeout=2)


def eat():
    hoard = []
    while True:
        hoard.append(bytearray(5_000_000))


@hungry
def test_oom():
    print("said")
    eat()


@pytest.fixture
def eats():
    eat()


@hungry
def test_oom_in_setup(eats):
    pass


@pytest.fixture
def eats_later():
    yield
    eat()


@hungry
def test_oom_in_teardown(eats_later):
    print("said")


@hungry
def test_oom_of_a_child():
    assert subprocess.call([sys.executable, "-c", "bytearray(200_000_000)"]) == -9


def test_sigkill():
    os.kill(os.getpid(), signal.SIGKILL)


@slow
def test_timeout():
    print("waiting")
    signal.pause()


@slow
def test_timeout_deaf_to_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    time.sleep(60)


@pytest.fixture
def sleeps_later():
    yield
    time.sleep(60)


@slow
def test_timeout_in_teardown(sleeps_later):
    assert 0


@pytest.fixture
def talks():
    print("setup out")
    yield


def test_abort(talks):
    print("out")
    os.write(1, b"raw \xff\n")
    print("err", file=sys.stderr)
    logging.getLogger("some").warning("logged")
    os.abort()


def test_sigterm():
    os.kill(os.getpid(), signal.SIGTERM)


def test_exit_0():
    os._exit(0)


def test_exit_4():
    os._exit(4)


def test_exec():
    os.execv("/bin/true", ["true"])  # noqa: S606  # no shell here


def test_garbage():
    say(b"garbage")


def test_forged_goodbye():
    body = b'["Bye",{}]'
    say(b"\x01" + len(body).to_bytes(4, "big") + body)
    os._exit(0)


def test_pipe_closed():
    for fd in pipes():
        os.close(fd)


@pytest.mark.xfail(reason="known to die")
def test_xfail():
    os.abort()


@pytest.mark.xfail(strict=True)
def test_xfail_strict():
    os.abort()


@pytest.mark.xfail(raises=ValueError)
def test_xfail_of_another_kind():
    os.abort()


@pytest.mark.xfail(condition=False, reason="not here")
def test_xfail_elsewhere():
    os.abort()


class TestClass:
    def test_method(self):
        os.abort()


class Case(unittest.TestCase):
    def test_case(self):
        os.abort()


def test_leftover():
    subprocess.Popen(["sh", "-c", "while :; do echo leftover; done"])


def test_after_leftover():
    time.sleep(0.1)
    print("mine")
    assert 0


def test_fork_that_comes_back():
    if os.fork() == 0:
        return
    os.wait()


def test_fork_that_raises():
    if os.fork() == 0:
        raise ValueError
    os.wait()
    print("mine")
    assert 0
