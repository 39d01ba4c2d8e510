"""What a sandbox lacks is in the header, and below the report of a test that fails for it."""

from __future__ import annotations

import os
from pathlib import Path
import shlex
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.any_python

SUITE: Final = """
import os, subprocess

HERE = os.path.dirname(__file__)

def test_write():
    open(os.path.join(HERE, "below", "new"), "w").close()

def test_program():
    subprocess.run(["touch", os.path.join(HERE, "below", "new")], check=True)

def test_crash():
    os.abort()

def test_pass():
    os.listdir(HERE)
"""
#: An overlay of an overlay: the kernel allows no third one on top.
STACKED: Final = """
mount -t tmpfs none "$1" && cd "$1" && mkdir lower upper1 work1 middle upper2 work2 project
cp -r ../suite/. lower
mount -t overlay none -o lowerdir=lower,upperdir=upper1,workdir=work1,$2 middle &&
mount -t overlay none -o lowerdir=middle,upperdir=upper2,workdir=work2,$2 project &&
cd project && shift 2 && exec "$@"
"""
PYTEST: Final = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--isolate"]


def start(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=100, check=False
    )


def line_below(output: str, test: str) -> str:
    """Return what the report of *test* says of its isolation."""
    report = output.partition(f"_ {test} _")[2].partition("\n___")[0]
    lines = report.splitlines()
    titles = [number for number, line in enumerate(lines) if line.strip("- ") == "Isolation"]
    return lines[titles[0] + 1] if titles else ""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    suite = tmp_path / "suite"
    (suite / "below").mkdir(parents=True)
    (suite / "pytest.ini").write_text("[pytest]\n", "utf-8")
    (suite / "test_x.py").write_text(SUITE, "utf-8")
    return suite


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """Return a directory that is not below that of all base temporary directories.

    What is written there is no concern of who looks for leaks.
    """
    with tempfile.TemporaryDirectory(prefix="beside-a-mount-") as name:
        (Path(name) / "below").mkdir()
        (Path(name) / "pytest.ini").write_text("[pytest]\n", "utf-8")
        yield Path(name)


@pytest.mark.needs("sandbox")
@pytest.mark.usefixtures("footprint")
def test_what_became_read_only_is_told_in_the_header_and_in_reports(suite: Path) -> None:
    stack = suite.parent / "stack"
    stack.mkdir()
    who = [] if os.geteuid() == 0 else ["--map-current-user", "--keep-caps"]
    marks = "redirect_dir=off" if os.geteuid() == 0 else "userxattr"

    script = ["sh", "-c", STACKED, "sh", str(stack), marks, *PYTEST]
    done = start("unshare", "--mount", *who, *script, cwd=suite)

    told = f"read-only: {stack}/project (overlay refused: EINVAL)"
    header = [line for line in done.stdout.splitlines() if line.startswith("isolate: ")]
    assert header[1:] == [f"isolate: {told}"], done.stdout + done.stderr
    assert "3 failed, 1 passed" in done.stdout
    for test in ("test_write", "test_program", "test_crash"):
        assert line_below(done.stdout, test).startswith(told)


@pytest.mark.needs("sandbox")
def test_a_sandbox_with_everything_is_told_of_once(suite: Path) -> None:
    done = start(*PYTEST, cwd=suite)

    assert done.stdout.count("isolate: ") == 1
    assert line_below(done.stdout, "test_crash") == ""


@pytest.mark.needs("sandbox")
def test_a_group_that_does_not_exist_inside_is_explained(suite: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root to give a directory to another group")
    for place in (suite, suite / "below"):
        os.chown(place, -1, 4242)
        place.chmod(0o2775)
    # A user of its own ids alone, who may write there as the owner.
    ordinary = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]

    done = start(*ordinary, *PYTEST, cwd=suite)

    for test in ("test_write", "test_program"):
        line = line_below(done.stdout, test)
        assert line.startswith("Value too large for defined data type (EOVERFLOW): "), done.stdout
        assert "only user 1000 and group 1000 exist" in line
        assert "sg " in line
    assert line_below(done.stdout, "test_crash") == ""


@pytest.mark.needs("sandbox")
def test_a_project_of_the_callers_own_group_is_written_to(suite: Path) -> None:
    if os.geteuid():
        pytest.skip("needs root to give a directory to another group")
    for place in (suite, suite / "below"):
        os.chown(place, -1, 4242)
        place.chmod(0o2775)

    # As `sg GROUP` does: the group of the project is that of the process.
    command = shlex.join([*PYTEST, "-rA"])
    done = start(
        *("setpriv", "--regid=4242", "--clear-groups"),
        *("unshare", "--user", "--map-user=1000", "--map-group=4242", "sh", "-c", command),
        cwd=suite,
    )

    assert "PASSED test_x.py::test_write" in done.stdout, done.stdout + done.stderr
    assert "PASSED test_x.py::test_program" in done.stdout


@pytest.mark.needs("sandbox")
@pytest.mark.usefixtures("footprint")
def test_files_beside_a_mount_are_written_to_and_what_changed_is_known(elsewhere: Path) -> None:
    suite = elsewhere
    (suite / "test_x.py").write_text(
        "import pathlib\n"
        "HERE = pathlib.Path(__file__).parent\n"
        "def test_write():\n"
        "    (HERE / 'settings').write_text('after')\n"
        "    (HERE / 'below/module').touch()\n"
        "def test_again():\n"
        "    assert (HERE / 'settings').read_text() == 'before'\n",
        "utf-8",
    )
    (suite / "settings").write_text("before", "utf-8")
    (suite / "large").write_bytes(bytes(8 << 20))
    pytest_line = shlex.join([*PYTEST, "--isolate-report-leaks=fail"])
    if os.geteuid() == 0:
        ordinary, who = "unshare --user --map-user=1000 --map-group=1000", []
    else:
        ordinary, who = "", ["--map-current-user", "--keep-caps"]
    script = f"mount -t tmpfs none below && exec {ordinary} {pytest_line}"

    done = start("unshare", "--mount", *who, "sh", "-c", script, cwd=suite)

    output = done.stdout + done.stderr
    assert "2 passed, 1 error" in done.stdout, output
    assert "2 paths written" in done.stdout, output
    told = f"read-only: {suite}/large (no overlay beside a mount, and too large to copy)"
    assert f"isolate: {told}" in done.stdout, output
    assert (suite / "settings").read_text("utf-8") == "before"
