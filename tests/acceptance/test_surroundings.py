"""Programs around pytest, and pytest within itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Suite

RUN: Final = (sys.executable, "-m", "pytest_isolate", "run")
PATIENCE: Final = 100.0
#: As the documentation has it.
DISPLAY: Final = """
import os
import subprocess

import pytest

@pytest.fixture
def display(monkeypatch):
    number, end = os.pipe()
    command = ["Xvfb", "-displayfd", str(end), "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[end]) as server, open(number) as line:
        os.close(end)
        monkeypatch.setenv("DISPLAY", f":{line.readline().strip()}")
        yield
        server.terminate()

@pytest.mark.parametrize("number", [1, 2])
def test_display(display, number):
    subprocess.run(["xdpyinfo"], check=True)
"""


def find(*programs: str) -> None:
    """Skip the test unless all of *programs* are installed; where `CI` is set that is a failure."""
    for program in programs:
        if shutil.which(program) is None:
            reason = f"no {program} here: bash .ci/programs installs it"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


def outcome(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, cwd="/"
    )


@pytest.mark.needs("sandbox")
def test_isolated_test_runs_isolated_tests(suite: Suite) -> None:
    suite.write({
        "outer": """
            import os, subprocess, sys

            def test_outer(tmp_path):
                inner = tmp_path / "test_inner.py"
                inner.write_text(
                    "import os\\n"
                    "def test_inner():\\n"
                    "    os.mkdir('/tmp/inner')\\n"
                    "    assert os.uname().nodename == 'inner'\\n"
                )
                command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(inner)]
                command += ["--isolate", "--isolate-hostname=inner", f"--rootdir={tmp_path}"]
                done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
                assert "1 passed" in done.stdout, done.stdout + done.stderr
                assert not os.path.exists("/tmp/inner")
                assert os.uname().nodename == "outer"
        """
    })

    assert suite.run("--isolate", "--isolate-hostname=outer").outcomes("test_outer") == {
        "setup": "passed",
        "call": "passed",
        "teardown": "passed",
    }


@pytest.mark.needs("sandbox")
def test_command_runs_isolated_tests(tmp_path: Path) -> None:
    (tmp_path / "test_inner.py").write_text("def test_inner(): pass\n", encoding="utf-8")
    pytest_inside = (sys.executable, "-m", "pytest", "--isolate", "-p", "no:cacheprovider")
    done = subprocess.run(
        [*RUN, "--", *pytest_inside],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        cwd=tmp_path,
    )

    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.needs("sandbox")
@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's sandboxes nest deeper")
def test_third_sandbox_of_root_in_another_is_refused_with_the_reason() -> None:
    done = outcome(*RUN, "--", *RUN, "--", *RUN, "--", "true")

    assert done.returncode == 125
    assert "nest one less deep, or run as an ordinary user" in done.stderr


def test_fakeroot_is_named() -> None:
    find("fakeroot")

    done = outcome("fakeroot", *RUN, "--", "true")

    assert done.returncode == 125
    assert "fakeroot answers for the kernel" in done.stderr
    assert "run outside fakeroot" in done.stderr
    assert "docker" not in done.stderr


@pytest.mark.needs("sandbox")
def test_each_test_has_a_display_of_its_own(suite: Suite) -> None:
    find("Xvfb", "xdpyinfo")
    suite.write({"display": DISPLAY})

    assert "2 passed" in suite.run("--isolate").output


@pytest.mark.needs("sandbox")
def test_command_has_a_display_inside() -> None:
    find("xvfb-run", "xauth", "xdpyinfo")

    done = outcome(*RUN, "--", "xvfb-run", "xdpyinfo")

    assert done.stdout.startswith("name of display:"), done.stderr


@pytest.mark.needs("sandbox")
def test_display_outside_is_let_through() -> None:
    find("xvfb-run", "xauth", "xdpyinfo")
    server = ("xvfb-run", "--auto-servernum", "--server-args=-ac -nolisten tcp")

    done = outcome(*server, *RUN, "--writable=/tmp/.X11-unix", "--", "xdpyinfo")

    assert done.stdout.startswith("name of display:"), done.stderr
