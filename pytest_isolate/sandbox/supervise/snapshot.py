"""What is in a sandbox at one moment: its processes, and its memory by kind.

Taken when something has gone wrong, from outside. Processes come and go meanwhile, so what cannot
be read any more is left out.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from operator import attrgetter
import os
import shlex
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.linux import procfs

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping

_MOST_MEASURED: Final = 64  #: processes whose share is asked for: the kernel walks their memory
_LONGEST: Final = 4096  #: bytes of a command line that are shown
SHARED: Final = "tmpfs and shared memory"  #: what that kind is called in a report


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessInfo:
    """One process of a sandbox. Sizes in bytes."""

    pid: int  #: as the sandbox numbers it
    outer: int  #: its pid outside
    command: str
    is_main: bool  #: whether it is the process that was put into the sandbox
    rss: int  #: memory that it sees, the caller's before the fork included
    pss: int | None = None  #: its part of that, shared memory divided by the sharers


@dataclass(frozen=True, slots=True, kw_only=True)
class Large:
    """A large file that a sandbox has in memory, or was copying there."""

    path: str  #: inside
    size: int  #: bytes, in memory or to be copied
    of_host: bool = False  #: whether it is a copy of one of the host's
    copying: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A sandbox at one moment."""

    processes: tuple[ProcessInfo, ...] = ()  #: without PID 1, the largest first
    memory: Mapping[str, int] = field(default_factory=dict)  #: bytes by kind
    killed: tuple[ProcessInfo, ...] = ()  #: whom the kernel killed for memory
    files: tuple[Large, ...] = ()  #: of one that was out of memory, the largest first
    seen: float | None = None  #: when, by the monotonic clock; `None` is after the process's end


def read_processes(pids: Iterable[int], main: int) -> tuple[ProcessInfo, ...]:
    """Return the processes *pids*, the largest first, without those that are dead.

    *main* is the one that was put into the sandbox.
    """
    alive = []
    for pid in pids:
        with suppress(OSError, KeyError, ValueError, IndexError):
            alive.append(_process(pid, main))
    alive.sort(key=attrgetter("rss"), reverse=True)
    measured = [_measured(process) for process in alive[:_MOST_MEASURED]]
    return (*measured, *alive[_MOST_MEASURED:])


def _process(pid: int, main: int) -> ProcessInfo:
    """Return one process; raise KeyError if it is dead and not waited for."""
    status = procfs.fields_of(f"{pid}/status")
    words = [os.fsdecode(word) for word in procfs.read(f"{pid}/cmdline", _LONGEST).split(b"\0")]
    return ProcessInfo(
        pid=int(status["NSpid"].split()[-1]),
        outer=pid,
        command=shlex.join(words[:-1]) or f"[{status['Name']}]",
        is_main=pid == main,
        rss=procfs.sizes(status)["VmRSS"],
    )


def _measured(process: ProcessInfo) -> ProcessInfo:
    try:
        return replace(process, pss=procfs.memory_of(process.outer)["Pss"])
    except (OSError, KeyError):
        return process


def by_kind(statistics: Mapping[str, int]) -> dict[str, int]:
    """Return bytes by kind in the words of a report, from `memory.stat` of either version."""
    if not statistics:
        return {}
    shared = statistics.get("shmem", 0)
    files = statistics.get("file", statistics.get("cache", 0)) - shared
    # Version 2 has a sum of it since Linux 5.18.
    parts = ("slab", "kernel_stack", "pagetables", "percpu", "sock")
    kernel = statistics.get("kernel", sum(statistics.get(part, 0) for part in parts))
    return {
        "anonymous": statistics.get("anon", statistics.get("rss", 0)),
        SHARED: shared,
        "cache of other files": max(0, files),
        "kernel": kernel,
    }
