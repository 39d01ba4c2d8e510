"""What a sandbox is shown of the control groups of its machine.

A JVM before version 24 looks at no limit at all unless it finds four hierarchies of version 1
(src/hotspot/os/linux/cgroupSubsystem_linux.cpp: memory, cpu, cpuacct, cpuset). Most sandboxes are
capped in one of them, and joining the others would cost every test. So what is mounted of those is
the group that the sandbox's processes are in there, pytest's: another one would contradict
/proc/self/cgroup, which ends the metrics of a JVM with a NullPointerException (JDK-8272124). As it
has neighbours, and those are nobody's business inside, it is covered: no file of it is seen, and
whoever looks finds no limit.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox.cgroups.locate import Version
from pytest_isolate.sandbox.cgroups.locate import here
from pytest_isolate.sandbox.cgroups.locate import locate
from pytest_isolate.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence

    from pytest_isolate.sandbox.cgroups.backend import Backend

_MEMORY: Final = "memory"
_LOOKED_FOR: Final = ("cpu", "cpuacct", "cpuset")


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Directories by hierarchy, see `locate.Place`."""

    groups: Mapping[str, str] = field(default_factory=dict)  #: the sandbox's own
    covered: Mapping[str, str] = field(default_factory=dict)  #: seen to be there, and no more


def looked_for(backends: Sequence[Backend]) -> dict[str, str]:
    """Return the hierarchies in which a JVM looks, if *backends* cap memory on version 1."""
    if not any(b.place.version is Version.V1 and _MEMORY in b.controllers for b in backends):
        return {}
    groups, mounts = here()
    found = {}
    for controller in _LOOKED_FOR:
        try:
            place = locate(controller, groups, mounts)
        except SandboxError:  # it is not there: what does without it sees the limits all the same
            continue
        if place.version is Version.V1:
            found[place.hierarchy] = place.path
    return found


def to_show(own: Mapping[str, str], others: Mapping[str, str]) -> Shown:
    """Return what a sandbox with the groups *own* is shown, of *others* what it has not itself."""
    if not any(_MEMORY in hierarchy.split(",") for hierarchy in own):
        return Shown(groups=own)
    covered = {hierarchy: path for hierarchy, path in others.items() if hierarchy not in own}
    return Shown(groups=own, covered=covered)
