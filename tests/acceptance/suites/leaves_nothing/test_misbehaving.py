from __future__ import annotations

import ctypes
import os
from pathlib import Path
import signal
import socket
import subprocess
import time

import pytest

HERE = Path(__file__).parent


@pytest.mark.parametrize("place", ["/tmp", "/var/tmp", "/dev/shm", "~", "/run", "/etc", HERE])
def test_files(place):
    file = Path(place).expanduser() / "left behind"
    try:
        file.write_text("x")
    except PermissionError:
        assert os.getuid() != 0


def test_process():
    subprocess.Popen(["sleep", "600"], start_new_session=True)


def test_daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)


def test_socket():
    socket.create_server(("127.0.0.1", 5432)).listen()


@pytest.mark.isolated(user="root")
def test_mount():
    subprocess.run(["mount", "-t", "tmpfs", "none", "/mnt"], check=True)


@pytest.mark.isolated(user="root")
def test_host_name():
    socket.sethostname("changed")


@pytest.mark.isolated(timeout=2)
def test_slow():
    time.sleep(600)


def test_crash():
    ctypes.string_at(0)


def test_exit():
    os._exit(0)


def test_killer():
    os.kill(-1, signal.SIGKILL)


@pytest.mark.isolated(memory="64M")
def test_hungry():
    if "can_cap" in os.environ:
        bytearray(10**9)
    else:
        pytest.skip()


def test_cgroup():
    os.sched_yield()
