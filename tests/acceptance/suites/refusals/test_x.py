from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import time

import pytest

OUTSIDE = Path(__file__).with_name("outside")


def test_pass(tmp_path):
    (tmp_path / "file").write_text("x")


def test_fail():
    print("some words")
    assert 1 == 2  # noqa: PLR0133  # as the summary shows it


def test_write_outside():
    with pytest.raises(PermissionError):
        OUTSIDE.open("w")


def test_write_for_nothing():
    try:
        OUTSIDE.open("w")
    except OSError as error:
        raise LookupError("no place to write to") from error


@pytest.mark.parametrize("path", ["file", "/proc/1/mem", "/nowhere/file", "nul\0", 7, None])
def test_modes(tmp_path, path):
    os.chdir(tmp_path)
    raise PermissionError(13, "Permission denied", path)


def test_crash():
    print("last words", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def test_exit():
    os._exit(3)


@pytest.mark.isolated(timeout=1)
def test_slow():
    subprocess.Popen(["setsid", "sleep", "600"])
    time.sleep(600)
