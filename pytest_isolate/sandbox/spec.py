"""What a sandbox is to be: plain data, decided before anything is done.

A `Spec` is made from a policy, travels to the keeper as JSON, and is what two
sandboxes are compared by: a prepared sandbox serves any test of an equal spec.
"""

from __future__ import annotations

from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import fields
import enum
from typing import TYPE_CHECKING
from typing import Final
from typing import TypeAlias
from typing import cast

if TYPE_CHECKING:
    from collections.abc import Mapping


class Network(enum.StrEnum):
    """Which network a sandbox sees."""

    LOOPBACK = "loopback"  #: its own namespace, `lo` up, nothing else
    NONE = "none"  #: its own namespace, `lo` down
    HOST = "host"  #: the caller's


class User(enum.StrEnum):
    """Which identity a test has inside."""

    KEEP = "keep"  #: the caller's uid and gid
    ROOT = "root"  #: uid 0 with all capabilities of its own user namespace


@dataclass(frozen=True, slots=True)
class HostRoot:
    """The machine's own tree, copy on write."""


@dataclass(frozen=True, slots=True)
class MinimalRoot:
    """An empty root with the interpreter, the import path and the project, read-only."""


@dataclass(frozen=True, slots=True)
class DirectoryRoot:
    """A directory's files, copy on write."""

    path: str  #: absolute


Root: TypeAlias = HostRoot | MinimalRoot | DirectoryRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps that a cgroup enforces; `None` is no cap."""

    memory: int | None = None  #: bytes, swap included
    pids: int | None = None  #: processes and threads at once
    cpus: float | None = None  #: CPU seconds per second

    def __bool__(self) -> bool:
        """Return whether any cap is asked for."""
        return (self.memory, self.pids, self.cpus) != (None, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One sandbox, whole.

    All paths are absolute paths of the host, and are found at the same path inside.
    """

    partial: bool = False  #: without namespaces: what a process can deny itself
    landlock: bool = False  #: whether a partial one is to be restricted by Landlock
    hostname: str | None = "isolated"  #: `None` leaves the host's
    network: Network = Network.LOOPBACK
    user: User = User.KEEP
    root: Root = field(default_factory=HostRoot)
    limits: Limits = field(default_factory=Limits)
    watched: int | None = None  #: bytes; a memory cap kept by looking, where no cgroup can keep it
    writable: tuple[str, ...] = ()  #: written through to the host
    own: str = ""  #: a directory of which the sandbox has one of its own, see `own`
    own_over: bool = False  #: whether what the host has there is seen in it, copy on write
    imports: tuple[str, ...] = ()  #: what the interpreter needs to go on importing
    project: tuple[str, ...] = ()  #: the code under test: copy on write where the root is
    surveyed: bool = False  #: what was written in it is looked at afterwards, see `changeset`
    scratch: tuple[str, ...] = ()  #: temporary directories: there, and empty if below a fresh one
    #: Asked for with every test; anew it takes all that is above.
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Keep the hash."""
        values = (getattr(self, one.name) for one in fields(self) if one.compare)
        object.__setattr__(self, "_hash", hash(tuple(values)))

    def __hash__(self) -> int:
        """Return the hash of all fields."""
        return self._hash

    @property
    def memory_cap(self) -> int | None:
        """The memory cap in bytes, whatever keeps it; `None` is no cap."""
        return self.watched if self.limits.memory is None else self.limits.memory

    def to_json(self) -> dict[str, object]:
        """Return this specification as JSON values."""
        data = asdict(self)
        del data["_hash"]
        data["root"] = {"kind": _KINDS[type(self.root)], **asdict(self.root)}
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Spec:
        """Return the specification that `to_json` wrote."""
        values = dict(data)
        root = dict(cast("Mapping[str, str]", values["root"]))
        kind = root.pop("kind")
        values["root"] = next(c for c, k in _KINDS.items() if k == kind)(**root)
        values["limits"] = Limits(**cast("dict[str, int | None]", values["limits"]))
        values["network"] = Network(cast("str", values["network"]))
        values["user"] = User(cast("str", values["user"]))
        for name in ("writable", "imports", "project", "scratch"):
            values[name] = tuple(cast("list[str]", values[name]))
        return cls(**values)  # type: ignore[arg-type]  # the fields were just typed one by one


_KINDS: Final[dict[type[HostRoot | MinimalRoot | DirectoryRoot], str]] = {
    HostRoot: "host",
    MinimalRoot: "minimal",
    DirectoryRoot: "directory",
}
