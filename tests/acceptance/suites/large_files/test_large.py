from __future__ import annotations

import os
import pathlib
import sqlite3
import subprocess
import threading

import pytest

HERE = pathlib.Path(__file__).parent
pytestmark = pytest.mark.isolated(memory="60M")


def test_chmod():
    os.chmod(HERE / "large", 0o600)


def test_rename():
    os.rename(HERE / "large", HERE / "moved")


def test_append():
    with open(HERE / "large", "ab") as file:
        file.write(b"x")


def test_beside():
    os.chdir(HERE)
    os.utime("large")


def test_below():
    os.chmod("large", 0o600, dir_fd=os.open(HERE, os.O_RDONLY))


def test_open():
    os.fchmod(os.open(HERE / "large", os.O_RDONLY), 0o600)


def test_program():
    subprocess.run(["chmod", "600", "large"], cwd=HERE, check=True)


def test_thread():
    thread = threading.Thread(target=os.chmod, args=(HERE / "large", 0o600))
    thread.start()
    thread.join()


def test_sqlite():
    sqlite3.connect(HERE / "large.sqlite").execute("select count(*) from numbers").fetchall()


def test_two():
    os.chmod(HERE / "middling", 0o600)
    for number in range(9):
        (HERE / f"new{number}").write_bytes(bytes(10 << 20))


def test_tmp():
    with open("/tmp/new", "wb", buffering=0) as file:
        while True:
            file.write(bytes(50_000))


def test_no_file():
    bytes(range(256)) * (1 << 20)


def test_within():
    os.chmod(HERE / "middling", 0o600)
    assert (HERE / "large").stat().st_size == 100 << 20
