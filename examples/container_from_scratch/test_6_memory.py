"""Step 6: no more memory than it is given (a cgroup).

hungry.py takes 10 MB every half second, and is killed at 100 MB. The machine does not notice, and
we are told why.
"""

from __future__ import annotations

import os
from pathlib import Path
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Run

HERE = Path(__file__).parent
WHY = "OOM killed: exceeded its memory cap of 100.0 MiB"

pytestmark = [
    pytest.mark.isolated(enabled=False),
    pytest.mark.usefixtures("memory_cap"),
]


def test_hungry_is_killed_at_100_mb(run: Run) -> None:
    command = (sys.executable, HERE / "hungry.py")
    done = run("--memory", "100M", "--env", "HUNGRY_PAUSE=0.01", "--", *command)
    assert done.returncode == 137
    assert WHY in done.stderr
    assert done.stdout.splitlines()[-1] in {"90 MB", "100 MB"}


def test_hungry_is_a_failed_test_and_the_run_goes_on() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "hungry_in_pytest.py"]
    done = subprocess.run(
        command,
        cwd=HERE,
        env={**os.environ, "HUNGRY_PAUSE": "0.01"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "1 failed, 1 passed" in done.stdout.splitlines()[-1]
    assert f"\n{WHY}" in done.stdout
