"""What the two versions of cgroups have in common: the interface that both backends implement."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_isolate.sandbox.cgroups.locate import Place
    from pytest_isolate.sandbox.spec import Limits


class Backend(Protocol):
    """One hierarchy and this run's directory in it. Its calls raise `OSError`."""

    @property
    def place(self) -> Place:
        """The group under which the run directory is."""

    @property
    def controllers(self) -> tuple[str, ...]:
        """The controllers of this hierarchy that are used."""

    @property
    def path(self) -> str:
        """The run directory, between `open` and `close`."""

    @property
    def lock_fd(self) -> int:
        """The descriptor that locks the run directory, between `open` and `close`."""

    @property
    def gate(self) -> str:
        """The file of a group to which a process of one thread writes "0" to join."""

    @property
    def counters(self) -> Mapping[str, tuple[str, ...]]:
        """The files of a group that count what happens in it, by controller; some may not exist."""

    def open(self) -> None:
        """Make the run directory, ready to have limited groups in it."""

    def cap(self, group: str, controller: str, limits: Limits) -> str:
        """Limit *controller* in the directory *group*; return what the cap lacks, or ""."""

    def arm(self, group: str, cap: int) -> dict[str, int]:
        """Have the cap of memory in the directory *group* ring before the kernel kills for it.

        Return descriptors by name, see `oom_terms`; none where the kernel cannot do that.
        """

    def kill(self, group: str) -> None:
        """Kill every process in the directory *group*, and wait until most are gone."""

    def close(self) -> None:
        """Remove the run directory with all that is in it, and undo what `open` changed."""


def wanted(limits: Limits) -> dict[str, float]:
    """Return the caps of *limits* by controller."""
    caps = {"memory": limits.memory, "pids": limits.pids, "cpu": limits.cpus}
    return {controller: cap for controller, cap in caps.items() if cap is not None}
