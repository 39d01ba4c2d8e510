"""The descriptors that come with a ready sandbox: what each is, on both sides of the wire."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import enum
from typing import TYPE_CHECKING
from typing import Final
from typing import final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping


class Kind(enum.StrEnum):
    """What a descriptor is; a label tells those of a kind apart."""

    INIT = "init"  #: a pidfd of PID 1
    JOIN = "join"  #: a file by which a process joins a cgroup, open for writing
    COUNTER = "counter"  #: a file of a cgroup's, open for reading: `v1.memory.failcnt`
    NOTIFIER = "notifier"  #: a part of the OOM notifier: `v1.event`
    UPPER = "upper"  #: the directory of the upper layers of overlays
    FRESH = "fresh"  #: a directory that was empty at first, by its path inside

    def name_of(self, label: str) -> str:
        """Return the name of the descriptor of this kind with *label*."""
        return f"{self} {label}"


#: What every test goes through is kept from the code of enumerations, which is Python's.
_KINDS: Final = tuple(kind.value for kind in Kind)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """All of one sandbox's, by kind and label."""

    init: int
    joins: tuple[int, ...] = ()
    counters: Mapping[str, int] = field(default_factory=dict)
    notifier: Mapping[str, int] = field(default_factory=dict)
    upper: int = -1  #: -1 is none
    fresh: Mapping[str, int] = field(default_factory=dict)

    def named(self) -> list[tuple[str, int]]:
        """Return each with its name, as `of` takes them."""
        return [
            (Kind.INIT, self.init),
            *((Kind.JOIN, fd) for fd in self.joins),
            *((Kind.COUNTER.name_of(label), fd) for label, fd in self.counters.items()),
            *((Kind.NOTIFIER.name_of(label), fd) for label, fd in self.notifier.items()),
            *([(Kind.UPPER, self.upper)] if self.upper >= 0 else []),
            *((Kind.FRESH.name_of(path), fd) for path, fd in self.fresh.items()),
        ]

    @classmethod
    def of(cls, named: Iterable[tuple[str, int]]) -> Attached:
        """Return what the *named* descriptors are."""
        found: dict[str, list[tuple[str, int]]] = {kind: [] for kind in _KINDS}
        for name, fd in named:
            kind, _, label = name.partition(" ")
            found[kind].append((label, fd))
        ((_, init),) = found["init"]
        return cls(
            init=init,
            joins=tuple(fd for _, fd in found["join"]),
            counters=dict(found["counter"]),
            notifier=dict(found["notifier"]),
            upper=dict(found["upper"]).get("", -1),
            fresh=dict(found["fresh"]),
        )
