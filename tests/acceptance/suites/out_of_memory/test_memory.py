from __future__ import annotations

from contextlib import suppress
import os
import subprocess
import sys
import threading
import time

import pytest

CAP = 60 << 20
pytestmark = pytest.mark.isolated(memory=CAP)


def hold_the_gil():
    return b"x" * (2 * CAP)


def grow():
    hoard = []
    while True:
        hoard.append(bytearray(10_000))


def fill(path):
    with open(path, "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 50_000)
            if file.tell() > CAP - (6 << 20):
                time.sleep(0.01)  # who looks may be late by a second and a half


def start(code):
    return subprocess.Popen([sys.executable, "-c", code])


def test_fast():
    hold_the_gil()


def test_slow():
    grow()


def test_tmp():
    fill("/tmp/full")


def test_shm():
    fill("/dev/shm/full")


def test_thread():
    thread = threading.Thread(target=grow, name="hungry")
    thread.start()
    thread.join()


@pytest.fixture
def eats():
    hold_the_gil()


def test_fixture(eats):
    pass


def test_many_children():
    # All are there before the first one eats: a fork that is denied memory is another story.
    code = "import sys, time; sys.stdin.read(); x = b'x' * 15_000_000; time.sleep(60)"
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) for _ in range(8)
    ]
    for child in children:
        child.stdin.close()
    for child in children:
        child.wait()


def test_child():
    child = start("x = bytearray(200_000_000)")
    assert child.wait() == -9
    print("went on")


def test_two_children():
    for size in 150_000_000, 160_000_000:
        assert start(f"x = bytearray({size})").wait() == -9


def test_child_and_then_the_test_itself():
    assert start("x = bytearray(150_000_000)").wait() == -9
    grow()


def test_denied_and_content():
    # Of a write that is too large the kernel may do a part, say ENOMEM, or kill.
    with suppress(OSError):
        os.write(os.open("/tmp/full", os.O_RDWR | os.O_CREAT), bytes(2 * CAP))


def test_exec():
    code = "x = b'x' * 200_000_000"
    os.execv(sys.executable, [sys.executable, "-c", code])  # noqa: S606  # no shell here


def test_lives_below_its_cap():
    def seconds(size):
        start = time.monotonic()
        bytearray(size)
        return time.monotonic() - start

    assert min(seconds(CAP - (6 << 20)) for _ in range(5)) < 4 * seconds(CAP // 2) + 1


def test_lives_with_files_in_the_page_cache(tmp_path):
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(4 * CAP)
    with big.open("rb") as file:
        while file.read(1 << 20):
            pass
