"""A kernel that refuses: one line with the reason and the mend, or a part of it on request."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys
from typing import Final

import pytest

REFUSE: Final = str(Path(__file__).parents[1] / "refuse.py")
#: What Docker's seccomp profile refuses without CAP_SYS_ADMIN.
DOCKER: Final = "unshare,clone:namespaces,setns,mount,umount2,pivot_root,sethostname"
SUITE: Final = """
import os, pytest, signal, subprocess, tempfile, time

def test_pass(tmp_path):
    (tmp_path / "file").write_text("x")

def test_fail():
    print("some words")
    assert 1 == 2

def test_write_outside():
    with pytest.raises(PermissionError):
        open(os.path.join(os.path.dirname(__file__), "outside"), "w")

def test_crash():
    print("last words", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)

def test_exit():
    os._exit(3)

@pytest.mark.isolated(timeout=1)
def test_slow():
    subprocess.Popen(["setsid", "sleep", "600"])
    time.sleep(600)
"""


def pytest_under(
    errno: str, calls: str, place: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run pytest in *place*, where the kernel answers *calls* with *errno*."""
    command = [sys.executable, REFUSE, errno, calls, "--", sys.executable, "-m", "pytest"]
    options = ["-p", "no:cacheprovider", "-rA", "--isolate", *arguments]
    return subprocess.run(
        [*command, *options],
        cwd=place,
        env=environment or None,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory with a suite of tests."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_x.py").write_text(SUITE)
    return tmp_path


@pytest.mark.usefixtures("footprint")
def test_plain_container_gives_a_part_of_isolation_on_request(place: Path) -> None:
    done = pytest_under("EPERM", DOCKER, place, "--isolate-unavailable=degrade")
    header = next(line for line in done.stdout.splitlines() if line.startswith("isolate: "))

    assert header.startswith("isolate: all tests; partial (no ")
    assert "; network host (no net); hostname kept (no hostname); unavailable degrade" in header
    for line in (
        "PASSED test_x.py::test_pass",
        "PASSED test_x.py::test_write_outside",
        "FAILED test_x.py::test_fail - assert 1 == 2",
        "FAILED test_x.py::test_crash - Crashed: killed by SIGSEGV",
        "FAILED test_x.py::test_exit - Exited: left with status 3 before its report",
        "FAILED test_x.py::test_slow - Timed out: exceeded its limit of 1 s",
    ):
        assert line in done.stdout
    assert "some words" in done.stdout
    assert "last words" in done.stdout
    assert not (place / "outside").exists()


@pytest.mark.usefixtures("footprint")
def test_plain_container_is_refused_with_its_rows_and_mend(place: Path) -> None:
    done = pytest_under("EPERM", DOCKER, place, "-k", "pass")

    assert "isolate: all tests; not to be had (fail): a sandbox's " in done.stdout
    assert "(EPERM)" in done.stdout
    assert "mend: " in done.stdout
    assert "ERROR test_x.py::test_pass - Isolation failed: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 1
