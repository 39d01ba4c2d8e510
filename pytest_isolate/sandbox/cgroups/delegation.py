"""cgroup v2: moving out of the own group, and back when the last run leaves.

Only pytest, this process and pytest's descendants are ever moved; nobody else's processes.
All of it happens under the lock of the base (`run_directories.lock_base`), so runs come and go one
by one.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.cgroups import cgroupfs
from pytest_isolate.sandbox.cgroups import refusals
from pytest_isolate.sandbox.cgroups import run_directories
from pytest_isolate.sandbox.features import CONTROLLERS
from pytest_isolate.sandbox.linux import procfs

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Mapping

#: How long to wait for a stranger in the own group who may be about to end.
_STRANGER_LIMIT: Final = 0.05
#: How long a dying process, which no file shows any more, may make the kernel answer EBUSY.
_EBUSY_LIMIT: Final = 0.5
_PAUSE: Final = 0.005


def move_out(base: str, main: str, parent_pid: int) -> None:
    """Move pytest (*parent_pid*), this process and pytest's descendants from *base* to *main*.

    Raises `SandboxError` if there is anyone else in *base*. Nobody was moved then.
    """
    deadline = time.monotonic() + _STRANGER_LIMIT
    moved = False
    while pids := cgroupfs.members(base):
        strangers = pids - family(pids, {os.getpid(), parent_pid})
        if not strangers:
            if not moved:
                os.mkdir(main)
                moved = True
            _move(pids, main)
        elif time.monotonic() >= deadline:
            names = [f"{name(pid)} ({pid})" for pid in sorted(strangers)]
            raise refusals.shared(base, names)
        else:
            time.sleep(_PAUSE)


def family(pids: Collection[int], heads: Collection[int]) -> set[int]:
    """Return which of *pids* are among *heads* or descend from one."""
    return descendants(pids, heads, _Parents())


class _Parents(dict[int, int]):
    """The parent of each process, 0 where there is none, read when it is asked for."""

    def __missing__(self, pid: int) -> int:
        self[pid] = parent = procfs.parent_of(pid)
        return parent


def descendants(
    pids: Collection[int], heads: Collection[int], parents: Mapping[int, int]
) -> set[int]:
    """Return which of *pids* are among *heads* or descend from one, by the map *parents*."""
    found = set()
    for pid in pids:
        ancestor = pid
        while ancestor > 1 and ancestor not in heads:
            ancestor = parents[ancestor]
        if ancestor in heads:
            found.add(pid)
    return found


def name(pid: int) -> str:
    """Return the name of the process *pid*, or "?"."""
    try:
        return cgroupfs.read(f"/proc/{pid}/comm").strip()
    except OSError:
        return "?"


def _move(pids: Collection[int], group: str) -> None:
    for pid in pids:
        try:
            cgroupfs.write(f"{group}/cgroup.procs", str(pid))
        except ProcessLookupError:
            continue


def enable(group: str, controllers: Collection[str]) -> dict[str, OSError]:
    """Give *controllers* to the subgroups of *group*; return why some could not be given."""
    deadline = time.monotonic() + _EBUSY_LIMIT
    failures = {}
    for controller in controllers:
        while True:
            try:
                cgroupfs.write(f"{group}/cgroup.subtree_control", f"+{controller}")
            except OSError as error:
                if error.errno == errno.EBUSY and time.monotonic() < deadline:
                    time.sleep(_PAUSE)
                    continue
                failures[controller] = error
            break
    return failures


def distributed(group: str) -> list[str]:
    """Return the controllers that the subgroups of *group* have."""
    return cgroupfs.read(f"{group}/cgroup.subtree_control").split()


def _disable(group: str, controllers: Collection[str]) -> None:
    for controller in distributed(group):
        if controller in controllers:
            cgroupfs.write(f"{group}/cgroup.subtree_control", f"-{controller}")


def leave(base: str, run: str, enabled: Collection[str]) -> None:
    """End the run whose directory is *run*: the last one in *base* puts everything back.

    *enabled* are the controllers that this run enabled in *base*. If other runs live, whoever is in
    this run's `MAIN` stays there, since a group with limited subgroups takes no processes.
    """
    try:
        run_directories.clear(run)
    finally:
        if not run_directories.sweep(base, run):
            _restore(base, enabled)


def _restore(base: str, enabled: Collection[str]) -> None:
    """Take all processes of ended runs, there are no others, back into *base*."""
    if not cgroupfs.is_root(base):
        # Processes were in it before, so it cannot have distributed any of them.
        enabled = CONTROLLERS
    ended = run_directories.find(base)
    for path in ended:
        _disable(path, enabled)
    _disable(base, enabled)
    for path in ended:
        _empty(f"{path}/{run_directories.MAIN}", base)
    for path in ended:
        run_directories.clear(path)


def _empty(main: str, base: str) -> None:
    deadline = time.monotonic() + cgroupfs.LIMIT
    while os.path.exists(main) and (pids := cgroupfs.members(main)):
        if time.monotonic() >= deadline:
            raise OSError(errno.EBUSY, "move processes out of: they keep forking", main)
        _move(pids, base)
