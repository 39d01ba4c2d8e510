"""A ready sandbox as its users hold it: its descriptors, and what can be done with it.

It owns them until it is retired.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace
import os
import signal
from typing import TYPE_CHECKING
from typing import Protocol
from typing import final

from pytest_isolate.sandbox import own
from pytest_isolate.sandbox import scratch
from pytest_isolate.sandbox.cgroups.counters import read_evidence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_isolate.sandbox.cgroups.oom_notifier import OomNotifier
    from pytest_isolate.sandbox.errors import KeeperError
    from pytest_isolate.sandbox.layers import Layers
    from pytest_isolate.sandbox.outcome import Evidence
    from pytest_isolate.sandbox.shortfalls import Shortfall
    from pytest_isolate.sandbox.spec import Spec


class Keeping(Protocol):
    """Whoever made a sandbox and removes it, as far as its users need to know."""

    @property
    def forks_inside(self) -> bool:
        """Whether a child can be forked straight into a PID namespace."""

    @property
    def fds(self) -> tuple[int, ...]:
        """Its descriptors, which are no business of a sandbox's."""

    def retire(self, number: int) -> bool:
        """Tell it that a sandbox is done with; return whether it lives to hear that."""

    def broken(self) -> KeeperError | None:
        """Return what killed it, or `None` while it lives."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """A ready sandbox, for one process tree."""

    spec: Spec
    number: int
    keeping: Keeping
    init: int  #: pidfd of its PID 1
    joins: tuple[int, ...]  #: `cgroup.procs` of its cgroups, open for writing
    counters: Mapping[str, int]  #: counter files of its cgroups, open for reading
    layers: Layers | None  #: where what is written goes, of a surveyed sandbox
    upper: int  #: the directory of upper layers, of one that has a memory cap; else -1
    scratch: str  #: a directory that goes with it: for all its files, or for those of `Spec.own`
    notifier: OomNotifier | None  #: what rings when the memory cap is reached
    shortfalls: tuple[Shortfall, ...]  #: what of the root file system could not be had in full

    def uncapped(self) -> Sandbox:
        """Return this sandbox for a process whose memory is nobody's concern."""
        spec = replace(self.spec, watched=None)
        return replace(self, spec=spec, joins=(), counters={}, notifier=None)

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptors that it owns: who has those of its cgroups could change its caps."""
        upper = () if self.upper < 0 else (self.upper,)
        fresh = () if self.layers is None else self.layers.fresh.values()
        notifier = () if self.notifier is None else self.notifier.fds
        return (self.init, *self.joins, *self.counters.values(), *upper, *fresh, *notifier)

    def evidence(self) -> Evidence:
        """Return what the sandbox's cgroup has counted so far."""
        return read_evidence(self.counters)

    def kill(self) -> None:
        """Kill every process inside, at once."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.init, signal.SIGKILL)

    def retire(self) -> None:
        """Give the sandbox back; whatever is left inside dies, and no descriptor stays open."""
        for fd in self.fds:
            os.close(fd)
        if not self.keeping.retire(self.number) and self.scratch:
            with suppress(OSError):
                if self.spec.own:
                    own.give_back(self.scratch, self.spec.own)
                else:
                    scratch.remove(self.scratch)
