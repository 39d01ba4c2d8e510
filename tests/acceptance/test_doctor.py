"""`python -m pytest_isolate doctor`: what the machine gives, and what to do about the rest."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

#: What every machine is asked.
NAMES = {
    *("sandbox", "userns", "mnt", "pid", "uts", "ipc", "net", "cgroup", "hostname", "overlay"),
    *("proc", "sysfs", "devpts", "pivot_root", "landlock", "memory", "pids", "cpu"),
}


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest_isolate", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def rows_of(table: str) -> dict[str, str]:
    rows = (line.split(maxsplit=1) for line in table.splitlines()[2:-2] if line[0] != " ")
    return dict(row for row in rows)


@pytest.mark.usefixtures("footprint")
def test_every_capability_has_a_row_and_the_status_is_the_verdict() -> None:
    done = doctor()
    rows = rows_of(done.stdout)

    assert rows.keys() == NAMES
    assert done.stderr == ""
    assert done.stdout.startswith("environment: ")
    sound = not rows["sandbox"].startswith("no") and not rows["memory"].startswith("no")
    assert done.returncode == (0 if sound else 1)
    if not rows["memory"].startswith("no"):
        assert "a process over a cap of 4.0 MiB was killed" in rows["memory"]


def test_json_says_the_same_as_the_table() -> None:
    done = doctor("--json")
    data = json.loads(done.stdout)
    rows = rows_of(doctor().stdout)

    assert data["sound"] is (done.returncode == 0)
    assert {entry["name"] for entry in data["capabilities"]} == NAMES
    for entry in data["capabilities"]:
        assert rows[entry["name"]].startswith(entry["state"])
        assert entry["how"] in rows[entry["name"]]
