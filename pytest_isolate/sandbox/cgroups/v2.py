"""cgroup v2: one hierarchy for all controllers.

See Documentation/admin-guide/cgroup-v2.rst of the kernel. A group with limited subgroups must hold
no process of its own, so pytest moves to a leaf for the time of the run:

    own group, or the one above the `MAIN` of another run that got here first
      pytest-isolate.TOKEN    one for each run: xdist's workers, or pytest in a test of pytest
        main                  pytest and its descendants, if this run moved them
        SANDBOX ...

The last run to leave moves everybody back; see `delegation`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox.cgroups import cgroupfs
from pytest_isolate.sandbox.cgroups import delegation
from pytest_isolate.sandbox.cgroups import run_directories
from pytest_isolate.sandbox.cgroups.oom_terms import EVENT
from pytest_isolate.sandbox.cgroups.oom_terms import unified_margin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_isolate.sandbox.cgroups.locate import Place
    from pytest_isolate.sandbox.spec import Limits

_CPU_PERIOD_US: Final = 100_000
_LEAST_CPU_QUOTA_US: Final = 1_000
_LONGEST: Final = 1 << 16  #: bytes that are read at once
#: How long another run may take to come or go.
_LOCK_LIMIT: Final = 10.0

_COUNTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "memory": ("memory.events", "memory.peak"),  # memory.peak: Linux 5.19
    "pids": ("pids.peak",),  # Linux 6.1
    "cpu": (),
    "": ("cpu.stat",),  # every group counts its CPU time
}


@final
class UnifiedBackend:
    """The v2 hierarchy."""

    def __init__(self, place: Place, controllers: tuple[str, ...], parent_pid: int) -> None:
        self.place = place
        self.controllers = controllers
        self.gate = "cgroup.procs"
        self.counters = _COUNTERS
        self._base = place.path
        self._parent_pid = parent_pid
        self._run: run_directories.Run | None = None
        self._enabled: tuple[str, ...] = ()
        self._failures: dict[str, OSError] = {}

    @property
    def path(self) -> str:
        """The run directory."""
        return self._opened.path

    @property
    def lock_fd(self) -> int:
        """The descriptor that locks the run directory."""
        return self._opened.fd

    @property
    def _opened(self) -> run_directories.Run:
        if self._run is None:
            msg = "the cgroups of this run are not open"
            raise ValueError(msg)
        return self._run

    def open(self) -> None:
        """Make the run directory, move to a leaf where that is needed, enable controllers.

        Raises `SandboxError` if processes are in the way that are not this run's to move.
        """
        self._run = run = run_directories.create(self._base)
        base_lock = run_directories.lock_base(self._base, _LOCK_LIMIT)
        try:
            run_directories.sweep(self._base, run.path)
            if not cgroupfs.is_root(self._base):
                delegation.move_out(
                    self._base, f"{run.path}/{run_directories.MAIN}", self._parent_pid
                )
            before = delegation.distributed(self._base)
            self._failures = delegation.enable(self._base, self.controllers)
            given = [name for name in self.controllers if name not in self._failures]
            self._enabled = tuple(name for name in given if name not in before)
            self._failures |= delegation.enable(run.path, given)
        finally:
            os.close(base_lock)

    def cap(self, group: str, controller: str, limits: Limits) -> str:
        """Limit *controller* in *group*."""
        if controller in self._failures:
            raise self._failures[controller]
        if controller == "memory" and limits.memory is not None:
            return _cap_memory(group, limits.memory)
        if controller == "pids" and limits.pids is not None:
            cgroupfs.write(f"{group}/pids.max", str(limits.pids))
        if controller == "cpu" and limits.cpus is not None:
            quota = max(_LEAST_CPU_QUOTA_US, round(limits.cpus * _CPU_PERIOD_US))
            cgroupfs.write(f"{group}/cpu.max", f"{quota} {_CPU_PERIOD_US}")
        return ""

    def arm(self, group: str, cap: int) -> dict[str, int]:
        """Have the cap of memory ring before the kernel kills for it."""
        return _arm_memory(group, cap)

    def kill(self, group: str) -> None:
        """Kill every process in *group*."""
        try:
            cgroupfs.write(f"{group}/cgroup.kill", "1")
        except FileNotFoundError:  # Linux < 5.14
            cgroupfs.kill_members(group)

    def close(self) -> None:
        """Remove the run directory; the last run to leave moves everybody back."""
        run, self._run = self._run, None
        if run is None:
            return
        try:
            base_lock = run_directories.lock_base(self._base, _LOCK_LIMIT)
            try:
                delegation.leave(self._base, run.path, self._enabled)
            finally:
                os.close(base_lock)
        finally:
            run.unlock()


def _cap_memory(group: str, limit: int) -> str:
    # memory.oom.group stays 0: the process that has the memory dies and its parent can tell.
    lacks = ""
    try:
        cgroupfs.write(f"{group}/memory.swap.max", "0")
    except FileNotFoundError:
        lacks = "swap not capped"
    cgroupfs.write(f"{group}/memory.max", str(limit))
    return lacks


def _arm_memory(group: str, cap: int) -> dict[str, int]:
    """Put a margin between *cap* and the hard limit of *group*; return what `notifier_of` takes."""
    cgroupfs.write(f"{group}/memory.high", str(cap))
    cgroupfs.write(f"{group}/memory.max", str(cap + unified_margin(cap)))
    fd = os.open(f"{group}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
    os.read(fd, _LONGEST)  # a fresh descriptor rings until it is read
    return {EVENT: fd}
