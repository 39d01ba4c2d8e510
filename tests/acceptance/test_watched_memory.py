"""Where no cgroup can be had: `degrade` watches the memory, and says so in words of its own."""

from __future__ import annotations

import os
from pathlib import Path
import shlex
import subprocess
import sys
from typing import Final

import pytest

SUITE: Final = """
import pytest, time

@pytest.mark.isolated(memory="64M")
def test_hungry():
    print("some words", flush=True)
    pieces = [bytearray(b"x" * (1 << 20)) for _ in range(100)]
    time.sleep(600)

@pytest.mark.isolated(memory="64M")
def test_modest():
    piece = bytearray(b"x" * (32 << 20))
    time.sleep(0.2)
"""


def _unified_controllers() -> list[str]:
    try:
        return Path("/sys/fs/cgroup/cgroup.controllers").read_text(encoding="ascii").split()
    except FileNotFoundError:  # version 1
        return []


def pytest_without_cgroups(place: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in *place*, where no cgroup is to be seen."""
    own_user = [] if os.geteuid() == 0 else ["--map-current-user"]
    pytest_line = shlex.join([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA"])
    script = f"mount -t tmpfs none /sys/fs/cgroup && exec {pytest_line} {shlex.join(options)}"
    return subprocess.run(
        ["unshare", *own_user, "--mount", "--keep-caps", "sh", "-c", script],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


#: On version 2 a namespace and a mount of one's own give a cgroup wherever there is one to give;
#: `tests/lab` has a machine where there is none.
no_cgroups = pytest.mark.skipif(
    "memory" in _unified_controllers(), reason="a mount of cgroup v2 gives a memory cap here"
)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory with a suite of tests."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_x.py").write_text(SUITE)
    return tmp_path


@pytest.mark.needs("sandbox")
@no_cgroups
@pytest.mark.usefixtures("footprint")
def test_degrade_watches_the_memory_and_kills_at_the_cap(place: Path) -> None:
    done = pytest_without_cgroups(
        place, "--isolate", "--isolate-unavailable=degrade", "--junitxml=x.xml"
    )
    header = next(line for line in done.stdout.splitlines() if line.startswith("isolate: "))

    assert "; memory cap: watched, 1.0 GiB (no writable memory cgroup); " in header
    assert "PASSED test_x.py::test_modest" in done.stdout
    assert "FAILED test_x.py::test_hungry" in done.stdout
    assert "\nKilled: watched memory exceeded its cap of 64.0 MiB (seen " in done.stdout
    assert "OOM" not in done.stdout
    assert "some words" in done.stdout
    assert "in test_hungry" in done.stdout  # the stacks
    assert '"isolate.outcome" value="memory"' in (place / "x.xml").read_text()
    assert '"isolate.memory_cap" value="67108864"' in (place / "x.xml").read_text()


@pytest.mark.needs("sandbox")
@no_cgroups
@pytest.mark.usefixtures("footprint")
def test_a_cap_that_was_asked_for_is_not_watched_unasked(place: Path) -> None:
    done = pytest_without_cgroups(place)

    assert done.stdout.count("Isolation failed: memory 64.0 MiB (test_x.py::test_") >= 2
    assert "memory cap: watched" not in done.stdout
