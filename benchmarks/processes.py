"""Run a command and tell what it and everything that it started cost."""

from __future__ import annotations

from dataclasses import dataclass
import os
import time
from typing import TYPE_CHECKING

from pytest_isolate.sandbox.linux import libc  # this project's own

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One command's end and price, in seconds."""

    status: int  #: as `os.waitstatus_to_exitcode` gives it
    output: str  #: standard output and error
    wall: float  #: until the command itself had ended
    cpu: float  #: user and system, of all its processes, until the last of them had ended


def run(argv: list[str], env: Mapping[str, str], log: Path) -> Run:
    """Run *argv* with its output in *log*, and wait for all that it leaves behind.

    The processes that outlive their parents come to this one as their subreaper (prctl(2)), so a
    daemon of the command is waited for, and paid for, as well. What cannot be seen is a child that
    the kernel reaped because its parent ignores SIGCHLD (wait(2)).
    """
    libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.fspath(log), flags, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    start = time.perf_counter()
    command = os.posix_spawn(argv[0], argv, env, file_actions=actions)
    status, wall, cpu = 0, 0.0, 0.0
    while (ended := _wait()) is not None:
        pid, wait_status, seconds = ended
        cpu += seconds
        if pid == command:
            status, wall = os.waitstatus_to_exitcode(wait_status), time.perf_counter() - start
    output = log.read_text(encoding="utf-8", errors="replace")
    return Run(status=status, output=output, wall=wall, cpu=cpu)


def _wait() -> tuple[int, int, float] | None:
    """Return the next child's pid, wait status and CPU seconds; `None` if there is no child."""
    try:
        pid, status, usage = os.wait4(-1, 0)
    except ChildProcessError:
        return None
    return pid, status, usage.ru_utime + usage.ru_stime
