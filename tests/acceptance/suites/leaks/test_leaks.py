from __future__ import annotations

import os
from pathlib import Path
import subprocess
import threading
import time

import pytest

HERE = Path(__file__).parent


def test_clean(tmp_path, request):
    (tmp_path / "file").write_text("x")
    (HERE / "__pycache__").mkdir(exist_ok=True)
    (HERE / "__pycache__" / "x").touch()
    (HERE / "data").open("a").close()
    with open("/tmp/gone", "w") as file:
        file.write("x")
    os.unlink("/tmp/gone")
    subprocess.run(["true"], check=True)
    thread = threading.Thread(target=print)
    thread.start()
    thread.join()
    child = subprocess.Popen(["sleep", "9"])
    child.kill()


def test_leaks():
    (HERE / "data").write_text("changed")
    Path("/tmp/file").write_text("x" * 3000)
    Path("/dev/shm/shared").touch()
    subprocess.Popen(["sleep", "1000"])
    threading.Thread(target=time.sleep, args=(99,), name="napper", daemon=True).start()


def test_fails():
    Path("/tmp/file").touch()
    assert 0


def test_dies():
    Path("/tmp/file").touch()
    os.abort()


@pytest.fixture
def broken():
    yield
    assert 0


def test_teardown(broken):
    Path("/tmp/file").touch()


@pytest.mark.isolated(report_leaks="off")
def test_let():
    Path("/tmp/file").touch()
