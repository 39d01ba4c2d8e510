from __future__ import annotations

import ctypes
import mmap
import os
import re
import signal
import subprocess
import tempfile
import threading
import time

import pytest

slow = pytest.mark.isolated(timeout=2)


@pytest.fixture
def stuck():
    time.sleep(60)


@slow
def test_stuck_in_setup(stuck):
    pass


@slow
def test_stuck_in_call():
    time.sleep(60)


@pytest.fixture
def stuck_later():
    yield
    time.sleep(60)


@slow
def test_stuck_in_teardown(stuck_later):
    pass


def backtrack():
    re.match(r"(a+)+$", "a" * 60 + "b")


@slow
def test_gil_is_held():
    backtrack()


def block():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGALRM})
    time.sleep(60)


@slow
def test_sigterm_is_blocked():
    block()


def loop(*_):
    while True:
        pass


@slow
def test_loops_in_a_handler():
    signal.signal(signal.SIGUSR1, loop)
    signal.raise_signal(signal.SIGUSR1)


@slow
def test_ignores_every_signal():
    for number in range(1, 32):
        if number not in (9, 19):
            signal.signal(number, lambda *_: None)
    while True:
        signal.pause()


def wait_in_a_thread():
    time.sleep(60)


@slow
def test_threads():
    threads = [threading.Thread(target=wait_in_a_thread) for _ in range(3)]
    for thread in threads:
        thread.start()
    threads[0].join()


@slow
def test_family():
    print("said", flush=True)
    subprocess.run(["sh", "-c", "setsid sleep 601 & sleep 602"], check=False)


def null():
    ctypes.string_at(0)


def test_sigsegv():
    null()


def bus():
    with tempfile.TemporaryFile() as file:
        file.truncate(mmap.PAGESIZE)
        memory = mmap.mmap(file.fileno(), mmap.PAGESIZE)
        file.truncate(0)
        memory[0]


def test_sigbus():
    bus()


def send(number):
    signal.raise_signal(number)


def test_sigfpe():
    send(signal.SIGFPE)


def test_sigill():
    send(signal.SIGILL)


def abort():
    os.abort()


def test_sigabrt():
    abort()


def test_stack_overflow():
    # The C library parses it by recursion; Python 3.12 counts its own calls through C.
    expression = b"(" * 1_000_000
    ctypes.CDLL(None).regcomp(ctypes.create_string_buffer(1024), expression, 1)


def test_crash_of_a_thread():
    thread = threading.Thread(target=abort)
    thread.start()
    thread.join()


def test_crash_with_company():
    subprocess.Popen(["sleep", "603"])
    null()
