"""Where what is written in a sandbox goes, and what was there before its test."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Any
from typing import final

if TYPE_CHECKING:
    from collections.abc import Mapping
    import os

    from pytest_isolate.sandbox.attached import Attached


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """Where what is written in a sandbox goes."""

    upper: int  #: the directory of the upper layers of overlays
    fresh: Mapping[str, int]  #: directories that were empty at first, by path inside
    overlaid: tuple[tuple[str, str], ...]  #: path inside and lower directory, by number
    planned: frozenset[str]  #: paths that the sandbox was made with
    copied: frozenset[str] = frozenset()  #: of files that were copied from the same path outside
    #: Files, as they were at the fork, that the parent had open: they may have been copied inside.
    opened: dict[str, os.stat_result] = field(default_factory=dict)


def layers_of(attached: Attached, described: Mapping[str, Any]) -> Layers | None:
    """Return the layers of a sandbox of the descriptors *attached*, *described* by a `Ready`."""
    if not described:
        return None
    overlaid = tuple((str(target), str(lower)) for target, lower in described["overlaid"])
    return Layers(
        upper=attached.upper,
        fresh=attached.fresh,
        overlaid=overlaid,
        planned=frozenset(described["planned"]),
        copied=frozenset(described["copied"]),
    )
