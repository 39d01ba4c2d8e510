"""What is less than planned because the kernel refused it, in notes that are always told."""

from __future__ import annotations

import errno
from typing import Final
from typing import final

_NAMED: Final = 3  # of a list of paths that may be long


@final
class Shortfalls:
    """The shortfalls of one plan: each is noted once, with all the places that have it."""

    def __init__(self) -> None:
        self._targets: Final[dict[tuple[str, str], list[str]]] = {}

    def add(self, what: str, target: str, why: str) -> None:
        """Note that *target* has, or is, *what*."""
        self._targets.setdefault((what, why), []).append(target)

    def add_refused(self, what: str, target: str, refused: str, error: OSError) -> None:
        """Note that *target* has, or is, *what*, as *refused* could not be had for *error*."""
        self.add(what, target, f"{refused} refused: {errno.errorcode.get(error.errno or 0, '')}")

    def notes(self) -> tuple[str, ...]:
        """Return one note for each way in which something is less than planned."""
        return tuple(
            f"{what}: {_some(targets)} ({why})" for (what, why), targets in self._targets.items()
        )


def _some(targets: list[str]) -> str:
    more = len(targets) - _NAMED
    return ", ".join(targets[:_NAMED]) + (f" and {more} more" if more > 0 else "")
