"""The descendants of a process: found, and those of this one killed, where no PID namespace does.

To be killed this process must be their subreaper (prctl(2)): whoever loses its parent becomes its
child, so that nobody gets away by a second fork.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING
from typing import Final

if TYPE_CHECKING:
    from collections.abc import Collection

_LIMIT_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.002


def kill() -> None:
    """Kill every descendant, without reaping any."""
    for pid in descendants((os.getpid(),)):
        try:
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def end() -> None:
    """Kill every descendant and reap it; one in uninterruptible sleep is left to die later."""
    deadline = time.monotonic() + _LIMIT_SECONDS
    try:
        while time.monotonic() < deadline:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                kill()
                time.sleep(_PAUSE_SECONDS)
    except ChildProcessError:
        return


def descendants(heads: Collection[int]) -> set[int]:
    """Return the processes that descend from one of *heads*."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (parent := _parent(name)):
            parents[int(name)] = parent
    found = set(heads)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found.difference(heads)


def _parent(pid: str) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            # The name in parentheses may contain anything, see proc_pid_stat(5).
            return int(stat.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0
