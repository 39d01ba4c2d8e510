from __future__ import annotations

import ctypes
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import threading
import time

import pytest
from wire import pipes
from wire import say

#: Pairs of the kind of an end and the phase in which it comes.
CASES = json.loads(Path(__file__).with_name("cases.json").read_text("utf-8"))
MARKS = {
    "oom": [pytest.mark.isolated(memory="40M")],
    "timeout": [pytest.mark.isolated(timeout=0.4)],
}


def eat():
    hoard = []
    while True:
        hoard.append(bytearray(10_000))


def in_a_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def oom_fast():
    assert b"x" * 100_000_000


def oom_slow():
    eat()


def oom_tmpfs():
    with open("/tmp/full", "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 50_000)


def oom_child():
    code = "x = bytearray(100_000_000)"
    assert subprocess.call([sys.executable, "-c", code]) == -9


def oom_thread():
    in_a_thread(eat)


def timeout_asleep():
    time.sleep(60)


def timeout_busy():
    sum(range(10**12))


def timeout_deaf():
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
    time.sleep(60)


def crash_of_a_pointer():
    ctypes.string_at(0)


def crash_of_the_stack():
    # The C library parses it by recursion; Python 3.12 counts its own calls through C.
    ctypes.CDLL(None).regcomp(ctypes.create_string_buffer(1024), b"(" * 1_000_000, 1)


def crash_of_a_thread():
    in_a_thread(os.abort)


def exit_0():
    os._exit(0)


def exit_3():
    os._exit(3)


def exec_of_a_program():
    os.execv("/bin/true", ["true"])  # noqa: S606  # no shell here


def lost_report():
    for fd in pipes():
        os.close(fd)


def garbage():
    say(b"garbage")


def lives():
    print("alive")


def fails():
    assert 0, "as it should"


def end(kind):
    if kind.startswith("signal_"):
        os.kill(os.getpid(), getattr(signal, "SIG" + kind.removeprefix("signal_")))
        time.sleep(60)
    globals()[kind]()


@pytest.fixture
def around(kind, phase):
    # Company that has to go as well.
    if kind != "lives":
        subprocess.Popen(["sleep", "600"], start_new_session=True)
    if phase == "setup":
        end(kind)
    yield
    if phase == "teardown":
        end(kind)


@pytest.mark.parametrize(
    ("kind", "phase"),
    [
        pytest.param(*case, id=str(number), marks=MARKS.get(case[0].partition("_")[0], []))
        for number, case in enumerate(CASES)
    ],
)
def test_end(kind, phase, around):
    if phase == "call":
        end(kind)
