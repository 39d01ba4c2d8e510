"""A memory cap kept by looking, where no cgroup can keep it.

What is looked at is the proportional set size (proc_pid_smaps(5)) of all processes of a sandbox:
a page that n processes share counts for each by an n-th, so the sum is what they take together.
The pages that a test has inherited from the caller's fork are not its own and are left out.

It is less than a cgroup: a burst between two looks is seen late, and files in memory are seen only
where they are mapped. So a kill by it is never called one for OOM.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
import os
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox.linux import pidfds
from pytest_isolate.sandbox.linux import process_tree
from pytest_isolate.sandbox.linux import procfs
from pytest_isolate.sandbox.outcome import MemoryLimit
from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What a single thread can take within a second at most, in bytes: a fault costs about 1 us.
_FASTEST: Final = 4 << 30
_SHORTEST_PAUSE: Final = 0.005
_LONGEST_PAUSE: Final = 0.1
#: Processes are looked at one after the other. What is forked, or has ended, between two of them
#: changes the share of each page, and memory that nobody took seems to be there: a cap counts as
#: exceeded if so many looks more, at once, say so too.
_DOUBTS: Final = 2
#: At most this part of the time is spent looking.
_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Memory:
    """What one process takes, in bytes."""

    proportional: int  #: of anonymous and shared memory, swap included
    lent: int  #: of its anonymous memory, what counts for the processes it shares it with


@final
class Watcher:
    """An eye on the memory of one sandbox.

    :param cap: Bytes; `None` watches nothing.
    :param process: The pid of the first process, a fork of the calling process.
    :param init: A pidfd of the sandbox's PID 1, whose children are its orphans.
    """

    def __init__(self, cap: int | None, process: int, init: int) -> None:
        self.cap = cap
        self.peak: int | None = None  #: the most that was seen, in bytes; `None` before a look
        self._process = process
        first = None if cap is None else pidfds.pid_of(init)
        self._heads = (process,) if first is None else (process, first)
        self._next = 0.0

    def exceeded(self) -> MemoryLimit | None:
        """Return how the cap was exceeded, or `None` if it was not as far as was seen."""
        if self.cap is None or self.peak is None or self.peak <= self.cap:
            return None
        return MemoryLimit(self.cap, self.peak)

    def look(self) -> float:
        """Look, if it is time, and return in how many seconds it will be time again."""
        if self.cap is None:
            return math.inf
        now = RealOS.monotonic()
        if now < self._next:
            return self._next - now
        seen = self._seen()
        for _again in range(_DOUBTS):
            if seen <= self.cap:
                break
            seen = min(seen, self._seen())
        self.peak = max(self.peak or 0, seen)
        cost = RealOS.monotonic() - now
        pause = pause_after(self.cap - seen, cost)
        self._next = now + cost + pause
        return pause

    def _seen(self) -> int:
        before = _lent()
        members = {self._process, *process_tree.descendants(self._heads)}
        total = sum(memory.proportional for pid in members if (memory := memory_of(pid)))
        # What a process that ended or wrote meanwhile has given back was counted as its own.
        return max(0, total - max(before, _lent()))


def _lent() -> int:
    """Return what of the caller's memory counts for its forks, in bytes."""
    own = memory_of(os.getpid())
    return own.lent if own else 0


def pause_after(room: int, cost: float) -> float:
    """Return how long to wait, in seconds, with *room* bytes to the cap, after a look of *cost*."""
    pause = min(_LONGEST_PAUSE, max(_SHORTEST_PAUSE, room / _FASTEST))
    return max(pause, cost / _SHARE)


def memory_of(pid: int) -> Memory | None:
    """Return what the process *pid* takes, or `None` if it has ended."""
    try:
        return parse_rollup(procfs.memory_of(pid))
    except OSError:
        pass
    try:
        # A process of another identity shows this much only: its pages count in full then.
        fields = procfs.sizes(procfs.fields_of(f"{pid}/status"))
    except OSError:
        return None
    return Memory(sum(fields.get(name, 0) for name in ("RssAnon", "RssShmem", "VmSwap")), 0)


def parse_rollup(fields: Mapping[str, int]) -> Memory:
    """Return what the *fields* of a `smaps_rollup` say."""
    anonymous, swap = fields.get("Anonymous", 0), fields.get("Swap", 0)
    share, swap_share = fields.get("Pss_Anon", 0), fields.get("SwapPss", 0)
    proportional = share + fields.get("Pss_Shmem", 0) + swap_share
    # All shares of a page add up to the page, so what is not this process's is the others'.
    return Memory(proportional, max(0, anonymous - share) + max(0, swap - swap_share))
