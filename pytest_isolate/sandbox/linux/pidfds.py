"""Processes by their pidfds: whether they have ended, and which they are; see pidfd_open(2)."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING

from pytest_isolate.sandbox.linux import procfs

if TYPE_CHECKING:
    from collections.abc import Iterable


def has_ended(pidfd: int, seconds: float = 0.0) -> bool:
    """Return whether the process of *pidfd* has ended, after *seconds* at most."""
    return bool(ended((pidfd,), seconds))


def ended(pidfds: Iterable[int], seconds: float | None) -> set[int]:
    """Return those of *pidfds* whose process has ended: wait for the first, *seconds* at most.

    `None` waits without a limit.
    """
    poll = select.poll()
    for pidfd in pidfds:
        poll.register(pidfd, select.POLLIN)
    return {fd for fd, _ in poll.poll(None if seconds is None else seconds * 1000)}


def pid_of(pidfd: int) -> int | None:
    """Return the pid of *pidfd*, `None` if its process is gone, or not to be seen from here."""
    try:
        pid = int(procfs.fields_of(f"self/fdinfo/{pidfd}")["Pid"])
    except (OSError, KeyError):
        return None
    return pid if pid > 0 else None
