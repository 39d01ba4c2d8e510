"""What a test has left behind, in words. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.policy.sizes import format_size
from pytest_isolate.sandbox.supervise.changeset import What

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence

    from pytest_isolate.sandbox.supervise.changeset import Change
    from pytest_isolate.sandbox.supervise.snapshot import ProcessInfo

#: How many lines one test has.
MOST: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What was there at a test's end and not at its beginning."""

    processes: Sequence[ProcessInfo] = ()
    threads: Sequence[str] = ()
    changes: Sequence[Change] = ()

    def __bool__(self) -> bool:
        """Return whether there is anything."""
        return bool(self.processes or self.threads or self.changes)

    def summary(self) -> str:
        """Return the counts: `1 process, 2 paths written (3.0 MiB), 1 path deleted`."""
        written = [one for one in self.changes if one.what is What.WRITTEN]
        deleted = [one for one in self.changes if one.what is What.DELETED]
        others = len(self.changes) - len(written) - len(deleted)
        size = format_size(sum(one.size for one in written))
        parts = [
            (len(self.processes), "process", "processes", ""),
            (len(self.threads), "thread", "threads", ""),
            (len(written), "path written", "paths written", f" ({size})"),
            (others, "path changed", "paths changed", ""),
            (len(deleted), "path deleted", "paths deleted", ""),
        ]
        return ", ".join(
            f"{number} {one if number == 1 else many}{more}"
            for number, one, many, more in parts
            if number
        )

    def lines(self) -> list[str]:
        """Return a line for each, and one for those that are too many."""
        lines = [f"process {one.pid}: {one.command}" for one in self.processes]
        lines += [f"thread {name}" for name in self.threads]
        lines += tell(self.changes)
        more = len(lines) - MOST
        return [*lines[:MOST], f"and {more} more"] if more > 0 else lines


def tell(changes: Sequence[Change]) -> Iterator[str]:
    """Yield what was done, a line each."""
    for one in changes:
        match one.what:
            case What.WRITTEN if one.kind == "file":
                yield f"wrote {one.path} ({format_size(one.size)})"
            case What.WRITTEN if one.kind == "link":
                yield f"linked {one.path} -> {one.source}"
            case What.WRITTEN:
                yield f"made {one.kind} {one.path}"
            case What.CHANGED:
                yield f"changed mode, owner or times of {one.path}"
            case What.MOVED:
                yield f"moved {one.source} to {one.path}"
            case What.REPLACED:
                yield f"replaced directory {one.path}"
            case What.DELETED:
                yield f"deleted {one.path}"
