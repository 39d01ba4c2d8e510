"""Runs in an environment of the laboratory, and prints as JSON what was had and what was left.

`doctor` is what the doctor prints, `header` the report header's line, `tests` the first line of
each test's end by its name, `left` what was not there before: mounts, cgroups, files, processes.
"""

from __future__ import annotations

from contextlib import redirect_stdout
import json
import os
from pathlib import Path
import sys
import tempfile
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
import uuid
import xml.etree.ElementTree as ET

import pytest

from pytest_isolate.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Callable

SUITE: Final = """
import os, signal, subprocess, time
import pytest

isolated = pytest.mark.isolated

def test_finished(tmp_path):
    (tmp_path / "file").write_text("x")
    assert os.listdir("/proc/self/fd")

@isolated(memory="32M")
def test_hungry():
    pieces = [bytearray(b"x" * (1 << 20)) for _ in range(64)]
    time.sleep(60)

@isolated(pids=8)
def test_forks():
    with pytest.raises(BlockingIOError):
        for _ in range(16):
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)

@isolated(timeout=5)
def test_slow():
    subprocess.Popen(["setsid", "sleep", "600"])
    time.sleep(600)

def test_crash():
    os.kill(os.getpid(), signal.SIGSEGV)

def test_leaves():
    subprocess.Popen(["setsid", "sleep", "600"])
    for place in ("/tmp/left-behind", "/dev/shm/left-behind"):
        open(place, "w").close()
"""
_PATIENCE_SECONDS: Final = 20.0
_PLACES: Final = ("/tmp", "/var/tmp", "/dev/shm", "/run")


def traces(token: str) -> set[str]:
    """Return what a run could leave, *token* being in the environment of its processes."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    groups = [
        os.path.join(place, name)
        for place, names, _ in os.walk("/sys/fs/cgroup")
        for name in names
        if name.startswith("pytest-isolate") and not _holds_us(os.path.join(place, name))
    ]
    words = ("isolate", "left-behind")
    files = [
        os.path.join(place, name)
        for place in _PLACES
        if os.access(place, os.R_OK)
        for name in os.listdir(place)
        if any(word in name for word in words)
    ]
    return {*mounts, *groups, *files, *_processes(token)}


def _holds_us(group: str) -> bool:
    """Return whether *group* is a scope that this process was taken to: it stays till the end."""
    members = Path(group, "cgroup.procs").read_text(encoding="ascii").split()
    return str(os.getpid()) in members


def _processes(token: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if token.encode() in (process / "environ").read_bytes():
                found.append(process.joinpath("cmdline").read_bytes().decode(errors="replace"))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def call(arguments: list[str], main: Callable[[list[str]], int]) -> str:
    """Return what *main* prints when it is called with *arguments* in this very process.

    In a process of its own, this one would be a stranger in its cgroup.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said, redirect_stdout(said):
        main(arguments)
        said.seek(0)
        return said.read()


def outcomes(report: Path) -> dict[str, str]:
    """Return how each test of the junitxml file *report* ended, by its name."""
    ends = {}
    for case in ET.parse(report).iter("testcase"):  # noqa: S314  # pytest wrote it
        bad = [one for kind in ("failure", "error") for one in case.iter(kind)]
        line = bad[0].attrib["message"].splitlines()[0] if bad else "passed"
        # junitxml puts an error of a fixture's into a sentence.
        ends[case.attrib["name"]] = line.removeprefix('failed on setup with "').removesuffix('"')
    return ends


def look(place: Path) -> dict[str, Any]:
    """Try everything here, and return what is printed."""
    os.environ["ISOLATE_TEST_TOKEN"] = token = uuid.uuid4().hex
    before = traces(token)
    (place / "pytest.ini").write_text("[pytest]\n", encoding="ascii")
    (place / "test_x.py").write_text(SUITE, encoding="ascii")
    os.chdir(place)
    doctor = call(["doctor", "--json"], main)
    options = ("-p", "no:cacheprovider", "--isolate", "--junitxml=report.xml", *sys.argv[1:])
    suite = call([*options], pytest.main)
    end = time.monotonic() + _PATIENCE_SECONDS
    while (left := traces(token) - before) and time.monotonic() < end:
        time.sleep(0.1)
    headers = [line for line in suite.splitlines() if line.startswith("isolate: ")]
    return {
        "doctor": json.loads(doctor),
        "header": headers[0] if headers else suite,
        "tests": outcomes(place / "report.xml"),
        "left": sorted(left),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="lab-") as directory:
        print(json.dumps(look(Path(directory))))  # noqa: T201
