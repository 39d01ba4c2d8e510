"""The example suites pass as their READMEs say, and leave the machine as it was."""

from __future__ import annotations

from importlib import metadata
import os
from pathlib import Path
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Footprint

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "container_from_scratch"
#: What the example makes for itself, and what Python and pytest make everywhere.
KEPT = {"containerfs", "__pycache__", ".pytest_cache"}


def plugins() -> dict[str, str]:
    """Return what makes pytest load the plugin where no installed wheel does."""
    installed = metadata.entry_points(group="pytest11", name="isolate")
    return {} if installed else {"PYTEST_PLUGINS": "pytest_isolate.plugin"}


def files() -> set[Path]:
    return {path for path in EXAMPLE.rglob("*") if KEPT.isdisjoint(path.parts)}


@pytest.mark.needs("sandbox", "pivot_root")
def test_container_from_scratch_passes_and_leaves_nothing_behind(
    footprint: Footprint, tmp_path: Path
) -> None:
    before = files()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--isolate", "-rs", EXAMPLE],
        cwd=ROOT,
        env={**footprint.environment, **plugins(), "TMPDIR": os.fspath(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,  # a slow kernel takes two minutes
    )

    assert done.returncode == 0, done.stdout + done.stderr
    outcomes = pytest.RunResult.parse_summary_nouns(done.stdout.splitlines())
    # On a desk an ordinary user may have no cgroup, and then no memory cap.
    allowed = {"passed"} if os.environ.get("CI") or os.getuid() == 0 else {"passed", "skipped"}
    assert set(outcomes) <= allowed, done.stdout

    assert files() == before
    assert {path.name.partition("-of-")[0] for path in tmp_path.iterdir()} <= {"pytest"}
