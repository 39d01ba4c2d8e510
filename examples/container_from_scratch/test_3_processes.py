"""Step 3: see only one's own processes (the PID namespace, and a /proc that belongs to it).

Process 1 is the container's init; when it goes, the kernel kills all that is left inside.
"""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Run


def processes() -> list[int]:
    return sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


@pytest.mark.isolated
def test_sees_init_and_itself() -> None:
    assert processes() == [1, os.getpid()]


@pytest.mark.isolated
def test_parent_is_out_of_sight() -> None:
    assert os.getppid() == 0


@pytest.mark.isolated
def test_sees_what_it_starts() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        assert processes() == [1, os.getpid(), sleeper.pid]
        sleeper.kill()


@pytest.mark.isolated(enabled=False)
def test_ps_lists_init_and_ps(run: Run, containerfs: Path) -> None:
    done = run("--", containerfs / "bin/busybox", "ps", "-o", "pid,comm")
    _heading, init, ps = (row.split() for row in done.stdout.splitlines())
    assert init[0] == "1"
    assert ps[1] == "busybox"


@pytest.mark.isolated(enabled=False)
def test_what_is_left_running_dies_with_the_container(run: Run) -> None:
    # The sleeper holds the output open: if it lived on, reading to the end would take 1000 seconds.
    assert run("--", "sh", "-c", "sleep 1000 & echo gone").stdout == "gone\n"
