"""After a run of tests that misbehave in every way, the machine is as it was before."""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.conftest import Footprint

MISBEHAVING: Final = Path(__file__).with_name("suites") / "leaves_nothing" / "test_misbehaving.py"


@pytest.mark.needs("sandbox", "pivot_root")
def test_machine_is_as_it_was(footprint: Footprint, tmp_path: Path, *, can_cap: bool) -> None:
    file = tmp_path / MISBEHAVING.name
    shutil.copyfile(MISBEHAVING, file)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    cap = {"can_cap": "1"} if can_cap else {}
    command = [sys.executable, "-m", "pytest", "--isolate", "-p", "no:cacheprovider", str(file)]
    done = subprocess.run(
        [*command, *([] if can_cap else ["--isolate-unavailable=degrade"])],
        env={
            **footprint.environment,
            **cap,
            "TMPDIR": os.fspath(scratch),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    outcomes = pytest.RunResult.parse_summary_nouns(done.stdout.splitlines())

    assert outcomes.get("failed", 0) == 4 + can_cap, done.stdout + done.stderr
    assert outcomes.get("passed", 0) == 13, done.stdout
    assert footprint.left() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scratch", file.name]
    assert {path.name.partition("-of-")[0] for path in scratch.iterdir()} <= {"pytest"}


@pytest.fixture
def can_cap() -> bool:
    """Whether a memory cap can be had: an ordinary user may lack a cgroup."""
    command = [sys.executable, "-m", "pytest_isolate", "doctor"]
    return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0
