"""Step 1: run a command.

A container is first of all a process that somebody starts, waits for, and whose status is handed
on. The rest of the exercise is about what this process can see and take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Run

pytestmark = pytest.mark.isolated(enabled=False)


def test_output_and_status_come_back(run: Run) -> None:
    done = run("--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)


def test_signal_comes_back_as_128_and_its_number(run: Run) -> None:
    assert run("--", "sh", "-c", "kill -TERM $$").returncode == 128 + 15


def test_unknown_command_is_answered_with_one_line(run: Run) -> None:
    done = run("--", "no-such-command")
    assert done.returncode == 127
    [line] = done.stderr.splitlines()
    assert "no-such-command" in line


def test_no_command_at_all_is_answered_with_the_usage(run: Run) -> None:
    done = run()
    assert done.returncode == 2
    assert done.stderr.startswith("usage:")
