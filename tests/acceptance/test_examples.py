"""The example suites pass as their READMEs say, and leave the machine as it was."""

from __future__ import annotations

import fcntl
from importlib import metadata
import os
from pathlib import Path
import subprocess
import sys
import uuid

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "container_from_scratch"
#: What the example makes for itself, and what Python and pytest make everywhere.
KEPT = {"containerfs", "__pycache__", ".pytest_cache"}


def environment() -> dict[str, str]:
    """Return the environment; it loads the plugin where no installed wheel makes pytest load it."""
    installed = metadata.entry_points(group="pytest11", name="isolate")
    return {**os.environ, **({} if installed else {"PYTEST_PLUGINS": "pytest_isolate.plugin"})}


def files() -> set[Path]:
    return {path for path in EXAMPLE.rglob("*") if KEPT.isdisjoint(path.parts)}


def mounts() -> set[str]:
    return set(Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines())


def groups() -> set[Path]:
    """Return the plugin's groups under our own memory cgroup, those of other runs included."""
    lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    own = {name: path for _, name, path in (line.split(":", 2) for line in lines)}
    place = f"memory{own['memory']}" if "memory" in own else own[""]  # v1, v2
    return set(Path(f"/sys/fs/cgroup/{place}").glob("**/pytest-isolate.*"))


def is_abandoned(group: Path) -> bool:
    """Return whether no living run owns *group*: its owner would hold a lock on it."""
    try:
        fd = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return group.exists()


def processes(token: str) -> list[str]:
    """Return the command lines of the processes that have *token* in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if token.encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_text(encoding="utf-8"))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def test_container_from_scratch_passes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    token = uuid.uuid4().hex
    before = files(), mounts()
    others = groups()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--isolate", "-rs", EXAMPLE],
        cwd=ROOT,
        env={**environment(), "TMPDIR": os.fspath(tmp_path), "EXAMPLE_TOKEN": token},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    outcomes = pytest.RunResult.parse_summary_nouns(done.stdout.splitlines())
    # On a desk an ordinary user may have no cgroup, and then no memory cap.
    allowed = {"passed"} if os.environ.get("CI") or os.getuid() == 0 else {"passed", "skipped"}
    assert set(outcomes) <= allowed, done.stdout

    assert (files(), mounts()) == before
    assert not processes(token)
    assert not [group for group in groups() - others if is_abandoned(group)]
    assert {path.name.partition("-of-")[0] for path in tmp_path.iterdir()} <= {"pytest"}
