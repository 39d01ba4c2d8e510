"""`python -m pytest_isolate doctor`: what the machine gives, and what to do about the rest."""

from __future__ import annotations

import json
import subprocess
import sys


def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest_isolate", "doctor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_every_capability_has_a_row_and_the_status_is_the_verdict() -> None:
    done = doctor()
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line[:1].strip())

    assert {"userns", "mnt", "pid", "uts", "ipc", "net", "cgroup", "overlay", "proc"} <= set(rows)
    assert done.stderr == ""
    assert done.returncode == (0 if rows["memory"].startswith("yes") else 1)


def test_json_says_the_same_as_the_table() -> None:
    entries = json.loads(doctor("--json").stdout)
    table = doctor().stdout

    assert len(entries) >= 14
    for entry in entries:
        state = "yes" if entry["available"] else "no"
        assert f"{entry['name']:<10}  {state}" in table
