"""Processes that belong together: by descent, or by the PID namespace that they are in.

Descendants of this process are killed here where no PID namespace does that. For that it must be
their subreaper (prctl(2)): whoever loses its parent becomes its child, so that nobody gets away by
a second fork.
"""

from __future__ import annotations

from contextlib import suppress
import os
import signal
import time
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.linux import pidfds
from pytest_isolate.sandbox.linux import procfs

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
        if name.isdigit() and (parent := procfs.parent_of(name)):
            parents[int(name)] = parent
    found = set(heads)
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found.difference(heads)


def namespace_of(init: int) -> list[int]:
    """Return the pids of the processes in the PID namespace of the pidfd *init*, without that."""
    first = pidfds.pid_of(init)
    try:
        namespace = os.readlink(f"/proc/{first}/ns/pid")
    except OSError:
        return []
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and name != str(first):
            with suppress(OSError):
                if os.readlink(f"/proc/{name}/ns/pid") == namespace:
                    found.append(int(name))
    return found
