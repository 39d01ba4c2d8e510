"""Step 4: a root file system of its own (the mount namespace, pivot_root, its own /proc).

The exercise unpacks a small system to /containerfs and enters it with chroot. Here it is made by
conftest.py from one static busybox, and entered with pivot_root: the old root is gone, not hidden.
The test itself, in Python, goes on inside; the programs that it starts are the root's.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Run

CONTAINERFS = Path(__file__).with_name("containerfs")
OUTSIDE = Path("/").stat()

pytestmark = [
    pytest.mark.isolated(rootfs=CONTAINERFS),
    pytest.mark.usefixtures("containerfs"),
]


def sh(script: str) -> str:
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout


def test_root_is_the_directory() -> None:
    assert Path("/etc/os-release").read_text(encoding="utf-8") == "NAME=containerfs\n"
    assert not Path("/etc/debian_version").exists()


def test_programs_are_those_of_the_root() -> None:
    assert sh("readlink /proc/$$/exe") == "/bin/busybox\n"


def test_proc_is_that_of_the_container() -> None:
    heading, *rows = sh("ps -o pid,comm").splitlines()
    assert heading.split() == ["PID", "COMMAND"]
    assert [int(row.split()[0]) for row in rows][:2] == [1, os.getpid()]


@pytest.mark.parametrize("name", ["decimal", "sqlite3", "ssl"])
def test_python_goes_on_importing(name: str) -> None:
    assert importlib.import_module(name).__name__ == name


@pytest.mark.isolated(user="root")
def test_the_way_out_of_a_chroot_leads_nowhere() -> None:
    top = Path("/").stat()
    assert not os.path.samestat(top, OUTSIDE)  # not with --no-isolate
    Path("/jail").mkdir()
    os.chroot("/jail")
    os.chdir("../../../..")  # the working directory is not below the new root: it can go up
    assert os.path.samestat(Path().stat(), top)


@pytest.mark.isolated(enabled=False)
def test_directory_stays_as_it_was(run: Run, containerfs: Path) -> None:
    done = run("--rootfs", containerfs, "--", "sh", "-c", "echo hello > /new; cat /new")
    assert done.stdout == "hello\n"
    assert sorted(path.name for path in containerfs.iterdir()) == ["bin", "etc"]
