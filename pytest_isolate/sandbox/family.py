"""All descendants of this process: killed, where no PID namespace does it.

This process must be their subreaper (prctl(2)): whoever loses its parent becomes its child, so
that nobody gets away by a second fork.
"""

from __future__ import annotations

import os
import signal
import time
from typing import Final

_PATIENCE_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.002


def kill() -> None:
    """Kill every descendant, without reaping any."""
    for pid in _descendants(os.getpid()):
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def end() -> None:
    """Kill every descendant and reap it; one in uninterruptible sleep is left to die later."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    try:
        while time.monotonic() < deadline:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                kill()
                time.sleep(_PAUSE_SECONDS)
    except ChildProcessError:
        return


def _descendants(head: int) -> set[int]:
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (parent := _parent(name)):
            parents[int(name)] = parent
    found = {head}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {head}


def _parent(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # The name in parentheses may contain anything, see proc_pid_stat(5).
            return int(stat.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0
