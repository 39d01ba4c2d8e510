"""What this machine gives, each with its reason and its fix: plain data.

`probe` fills it by trying, the policy's resolution and `doctor` read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
import enum
import errno
from typing import Any
from typing import Final
from typing import final


class Part(enum.StrEnum):
    """What a sandbox is made of, each tried on this machine."""

    USERNS = "userns"
    MNT = "mnt"
    PID = "pid"
    UTS = "uts"
    IPC = "ipc"
    NET = "net"
    CGROUP = "cgroup"
    HOSTNAME = "hostname"
    OVERLAY = "overlay"
    PROC = "proc"
    SYSFS = "sysfs"
    DEVPTS = "devpts"
    PIVOT_ROOT = "pivot_root"
    LANDLOCK = "landlock"
    MEMORY = "memory"
    PIDS = "pids"
    CPU = "cpu"


#: Namespaces in the order of the report header.
NAMESPACES: Final = (
    Part.USERNS,
    Part.MNT,
    Part.PID,
    Part.UTS,
    Part.IPC,
    Part.NET,
    Part.CGROUP,
)
#: Steps that make a root file system.
ROOT_STEPS: Final = (Part.OVERLAY, Part.PROC, Part.SYSFS, Part.DEVPTS, Part.PIVOT_ROOT)
#: What a sandbox is made of besides these, or instead of them.
OTHERS: Final = (Part.HOSTNAME, Part.LANDLOCK)
#: Caps, by the controller that enforces them.
CONTROLLERS: Final = (Part.MEMORY, Part.PIDS, Part.CPU)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """One thing that a sandbox is made of, tried on this machine."""

    name: str
    available: bool
    how: str = ""  #: how it was had: "cgroup v2", "one overlay per mount point"
    lacks: str = ""  #: what is less than it should be of an available one: "read-only: /data"
    why: str = ""  #: why not: the failing step and the kernel's words
    fix: str = ""  #: what to do about it here
    code: int = 0  #: the errno, or 0

    @property
    def state(self) -> str:
        """In a word: `yes`, `partial` or `no`."""
        if not self.available:
            return "no"
        return "partial" if self.lacks else "yes"

    @property
    def errno_name(self) -> str:
        """The errno's symbol, `EPERM`, or "" where no system call failed."""
        return errno.errorcode.get(self.code, "") if self.code else ""


@final
class Capabilities(Mapping[str, Capability]):
    """All capabilities by name; a name that was not tried is not available."""

    def __init__(self, *entries: Capability) -> None:
        self._entries = {entry.name: entry for entry in entries}

    def __getitem__(self, name: str) -> Capability:
        """Return the capability called *name*."""
        untried = Capability(name=name, available=False, why="not tried")
        return self._entries.get(name, untried)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names in the order in which they were tried."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Return how many were tried."""
        return len(self._entries)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the entries as JSON values."""
        return [asdict(entry) for entry in self._entries.values()]

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> Capabilities:
        """Return the capabilities that `to_json` wrote."""
        return cls(*(Capability(**entry) for entry in data))
