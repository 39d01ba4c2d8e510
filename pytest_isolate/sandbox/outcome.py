"""How a test process ended, and the rules to tell: pure functions over evidence.

An end is judged by what cannot be forged from inside: the wait status, the counters of the
sandbox's cgroup and the parent's own clock. `OutOfMemory` is said on what the kernel has counted
alone, kills for memory and denials of it; a SIGKILL from elsewhere stays a SIGKILL.
"""

from __future__ import annotations

from dataclasses import dataclass
import os
import signal
from typing import TYPE_CHECKING
from typing import TypeAlias
from typing import assert_never

if TYPE_CHECKING:
    from pytest_isolate.sandbox.errors import SandboxError


@dataclass(frozen=True, slots=True)
class Exited:
    """The process left by itself."""

    status: int


@dataclass(frozen=True, slots=True)
class Signaled:
    """The process was killed by a signal."""

    number: int

    @property
    def name(self) -> str:
        """The signal's name, `SIGSEGV`; real-time signals have only a number."""
        try:
            return signal.Signals(self.number).name
        except ValueError:
            return f"signal {self.number}"


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The kernel's OOM killer struck inside the sandbox. Sizes in bytes."""

    cap: int | None
    peak: int | None
    outer: bool  #: the cap was not reached: an outer limit, or the machine itself, ran out


@dataclass(frozen=True, slots=True)
class MemoryExceeded:
    """The process was ended for more memory than its cap, as far as was seen. Sizes in bytes."""

    cap: int
    seen: int


@dataclass(frozen=True, slots=True)
class TimedOut:
    """The process ran longer than its limit, in seconds."""

    limit: float


@dataclass(frozen=True, slots=True)
class SetupFailed:
    """The process could not be put into its sandbox."""

    error: SandboxError


Outcome: TypeAlias = Exited | Signaled | OutOfMemory | MemoryExceeded | TimedOut | SetupFailed


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """It has run longer than its limit, in seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """It has more memory than its cap, as far as was seen. Sizes in bytes."""

    cap: int
    seen: int


@dataclass(frozen=True, slots=True)
class KernelDenied:
    """At its cap the kernel has denied it memory, and had nobody to kill or was kept from that."""


#: What a process was ended for by who watches it; the kernel's own kills are in the evidence.
EndedFor: TypeAlias = TimeLimit | MemoryLimit | KernelDenied


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the sandbox's cgroup had counted when the process ended; `None` is not counted."""

    oom_kills: int | None = None
    limit_hits: int | None = None  #: times that the memory cap itself was reached
    memory_peak: int | None = None  #: bytes
    cpu_seconds: float | None = None
    pids_peak: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The figures of one test; `None` where this machine does not count them.

    The memory cap stands beside the peak: it is what that is read against.
    """

    wall_seconds: float
    cpu_seconds: float | None = None
    memory_peak: int | None = None  #: bytes
    memory_cap: int | None = None  #: bytes; `None` is no cap
    processes: int | None = None  #: the most at once, threads included


def classify(
    status: int,
    evidence: Evidence,
    *,
    memory_cap: int | None,
    ended_for: EndedFor | None = None,
    setup_error: SandboxError | None = None,
) -> Outcome:
    """Return how the process of wait *status* ended; *ended_for* is what the parent has done."""
    if setup_error is not None:
        return SetupFailed(setup_error)
    denied = ended_for is not None and isinstance(ended_for, KernelDenied)
    if denied or evidence.oom_kills:
        # The limit may lie a little above the cap, and not be reached by what was denied.
        outer = evidence.limit_hits == 0 and not denied
        return OutOfMemory(memory_cap, within(memory_cap, evidence.memory_peak), outer=outer)
    match ended_for:
        case None | KernelDenied():
            pass
        case MemoryLimit(cap, seen):
            return MemoryExceeded(cap, seen)
        case TimeLimit(seconds):
            return TimedOut(seconds)
        case _:
            assert_never(ended_for)
    if os.WIFSIGNALED(status):
        return Signaled(os.WTERMSIG(status))
    return Exited(os.WEXITSTATUS(status))


def within(cap: int | None, peak: int | None) -> int | None:
    """Return *peak* without what was let through above *cap*, to look at who wanted it."""
    return peak if cap is None or peak is None else min(cap, peak)
