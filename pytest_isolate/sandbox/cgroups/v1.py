"""cgroup v1: one hierarchy, of its own or co-mounted, for each controller.

See Documentation/admin-guide/cgroup-v1 of the kernel. Groups may hold processes and subgroups at
once, so making some under the own group disturbs nobody.
"""

from __future__ import annotations

from contextlib import suppress
import errno
import os
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox.cgroups import cgroupfs
from pytest_isolate.sandbox.cgroups import run_directories
from pytest_isolate.sandbox.cgroups.oom_terms import DENIALS
from pytest_isolate.sandbox.cgroups.oom_terms import EVENT
from pytest_isolate.sandbox.cgroups.oom_terms import legacy_margin

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_isolate.sandbox.cgroups.locate import Place
    from pytest_isolate.sandbox.spec import Limits

_CPU_PERIOD_US: Final = 100_000
_LEAST_CPU_QUOTA_US: Final = 1_000  # kernel/sched/core.c, min_cfs_quota_period

#: What the kernel charges at once, in pages (include/linux/memcontrol.h, MEMCG_CHARGE_BATCH).
_CHARGE_BATCH: Final = 64

_COUNTERS: Final[Mapping[str, tuple[str, ...]]] = {
    "memory": ("memory.oom_control", "memory.max_usage_in_bytes", "memory.failcnt"),
    "pids": ("pids.peak",),  # Linux 6.1
    "cpu": ("cpuacct.usage",),  # where both are mounted together
}


@final
class LegacyBackend:
    """One v1 hierarchy."""

    def __init__(self, place: Place, controllers: tuple[str, ...]) -> None:
        self.place = place
        self.controllers = controllers
        # Moving the calling thread alone does not take cgroup_threadgroup_rwsem for writing, and
        # that waits for an RCU grace period, here 7 ms (kernel/cgroup/cgroup.c,
        # cgroup_procs_write_start). Right after a fork the thread is all of the process.
        self.gate = "tasks"
        self.counters = _COUNTERS
        self._run: run_directories.Run | None = None

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
        """Make the run directory."""
        self._run = run_directories.create(self.place.path)
        run_directories.sweep(self.place.path, self._run.path)

    def cap(self, group: str, controller: str, limits: Limits) -> str:
        """Limit *controller* in *group*."""
        if controller == "memory" and limits.memory is not None:
            return _cap_memory(group, limits.memory)
        if controller == "pids" and limits.pids is not None:
            cgroupfs.write(f"{group}/pids.max", str(limits.pids))
        if controller == "cpu" and limits.cpus is not None:
            _cap_cpu(group, limits.cpus)
        return ""

    def arm(self, group: str, cap: int) -> dict[str, int]:
        """Have the cap of memory ring before the kernel kills for it."""
        return _arm_memory(group, cap)

    def kill(self, group: str) -> None:
        """Kill every process in *group*."""
        if "pids" in self.controllers and cgroupfs.members(group):
            # Nothing can fork faster than it is killed.
            cgroupfs.write(f"{group}/pids.max", "0")
        cgroupfs.kill_members(group)

    def close(self) -> None:
        """Remove the run directory."""
        run, self._run = self._run, None
        if run is None:
            return
        try:
            run_directories.clear(run.path)
        finally:
            run.unlock()


def _cap_memory(group: str, limit: int) -> str:
    cgroupfs.write(f"{group}/memory.limit_in_bytes", str(limit))
    # Memory and swap together may not be below memory alone, so they come second. They are charged
    # first: with equal limits it is theirs that is exceeded, and recent kernels (seen: 6.18) do not
    # count that in memory.memsw.failcnt. A batch more, and memory.failcnt tells on every kernel.
    both = limit + _CHARGE_BATCH * os.sysconf("SC_PAGE_SIZE")
    try:
        cgroupfs.write(f"{group}/memory.memsw.limit_in_bytes", str(both))
    except FileNotFoundError:
        # Swap is not accounted (swapaccount=0): at least swap none of it without need.
        cgroupfs.write(f"{group}/memory.swappiness", "0")
        return "swap not capped"
    return ""


def _arm_memory(group: str, cap: int) -> dict[str, int]:
    """Let *group* ring at *cap*, and switch its OOM killer off above.

    Return what `notifier_of` takes; it is empty where the kernel cannot do that (PREEMPT_RT).
    """
    fds = {name: os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for name in (EVENT, DENIALS)}
    try:
        # The limit of memory and swap leaves room to raise the one of memory alone: changing it
        # would wake who waits, too early. That nothing is swapped is up to swappiness then.
        cgroupfs.write(f"{group}/memory.swappiness", "0")
        with suppress(FileNotFoundError):
            cgroupfs.write(
                f"{group}/memory.memsw.limit_in_bytes", str(cap + 4 * legacy_margin(cap))
            )
        _notify(group, "memory.usage_in_bytes", fds[EVENT], f" {cap}")
        _notify(group, "memory.oom_control", fds[EVENT])
        _notify(group, "memory.oom_control", fds[DENIALS])
        cgroupfs.write(f"{group}/memory.oom_control", "1")
        cgroupfs.write(f"{group}/memory.limit_in_bytes", str(cap + legacy_margin(cap)))
    except OSError as error:
        for fd in fds.values():
            os.close(fd)
        if error.errno in {errno.ENOENT, errno.EINVAL, errno.EACCES, errno.EPERM}:
            return {}
        raise
    return fds


def _notify(group: str, name: str, eventfd: int, arguments: str = "") -> None:
    control = os.open(f"{group}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        cgroupfs.write(f"{group}/cgroup.event_control", f"{eventfd} {control}{arguments}")
    finally:
        os.close(control)


def _cap_cpu(group: str, cpus: float) -> None:
    quota = max(_LEAST_CPU_QUOTA_US, round(cpus * _CPU_PERIOD_US))
    cgroupfs.write(f"{group}/cpu.cfs_period_us", str(_CPU_PERIOD_US))
    try:
        cgroupfs.write(f"{group}/cpu.cfs_quota_us", str(quota))
    except OSError as error:
        # A quota above an outer group's is refused (v2 takes it). The outer one holds anyway.
        if error.errno != errno.EINVAL:
            raise
