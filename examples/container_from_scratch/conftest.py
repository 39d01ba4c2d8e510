"""What the steps share: the way into a container by command, and a root file system to put in it.

Most tests *are* in a container: that is what `@pytest.mark.isolated` does. Those that start
containers themselves, with `run` or `start`, say `enabled=False` and stay outside.
"""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
from typing import Final
from typing import NoReturn
from typing import Protocol

import pytest

BUSYBOX: Final = Path("/bin/busybox")
CONTAINERFS: Final = Path(__file__).with_name("containerfs")
CONTAINER: Final = (sys.executable, "-m", "pytest_isolate", "run")


class Run(Protocol):
    """Run `python -m pytest_isolate run ARGUMENTS` to its end."""

    def __call__(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]: ...


class Start(Protocol):
    """Start the same and go on; it lives until its standard input is closed."""

    def __call__(self, *arguments: str | Path) -> subprocess.Popen[str]: ...


def pytest_configure() -> None:
    """Have step 4's root before its tests are collected: their marker names it."""
    if _is_static(BUSYBOX) and not (CONTAINERFS / "bin").exists():
        make_root(CONTAINERFS)
    CONTAINERFS.mkdir(exist_ok=True)


def make_root(root: Path) -> None:
    """Make the exercise's /containerfs: one static program under all of its names, and a name."""
    with tempfile.TemporaryDirectory(dir=root.parent) as workshop:
        new = Path(workshop, "root")
        (new / "bin").mkdir(parents=True)
        shutil.copy2(BUSYBOX, new / "bin")
        applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
        for name in set(applets.stdout.split()) - {"busybox"}:
            (new / "bin" / name).symlink_to("busybox")
        (new / "etc").mkdir()
        (new / "etc/os-release").write_text("NAME=containerfs\n", encoding="utf-8")
        new.replace(root)


@pytest.fixture
def run() -> Run:
    """Run a command in a container by `python -m pytest_isolate run`."""
    return _run


@pytest.fixture
def start() -> Start:
    """Start a command in a container, to have two of them side by side."""

    def start(*arguments: str | Path) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen([*CONTAINER, *arguments], stdin=pipe, stdout=pipe, text=True)

    return start


@pytest.fixture
def containerfs() -> Path:
    """Return the root file system made from busybox, as the host names it."""
    if not (CONTAINERFS / "bin").exists():
        _miss("no statically linked /bin/busybox: apt-get install busybox-static")
    return CONTAINERFS


@pytest.fixture
def memory_cap() -> None:
    """Skip where no memory cap can be had: without root it takes a cgroup of one's own."""
    tried = _run("--memory", "100M", "--", "true")
    if tried.returncode == 125:
        _miss(tried.stderr.strip())


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [*CONTAINER, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    sys.stderr.write(done.stderr)  # for pytest to show if the test fails
    return done


def _is_static(program: Path) -> bool:
    """Return whether *program* needs no library, so that it runs where there is none."""
    if not program.exists():
        return False
    libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return "=>" not in libraries.stdout


def _miss(reason: str) -> NoReturn:
    """Skip on a desk; in CI what cannot be tried is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
