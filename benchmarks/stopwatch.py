"""Times of function calls in shared memory, so that forked processes can note theirs.

A track has one writer at a time: in one sandbox's life each function of interest runs in one
process only, and lives that are measured follow each other.
"""

from __future__ import annotations

import functools
import mmap
import os
import struct
import time
from typing import TYPE_CHECKING
from typing import Final

if TYPE_CHECKING:
    from collections.abc import Callable

_COUNT: Final = struct.Struct("q")
_TIMES: Final = struct.Struct("qq")
_CAPACITY: Final = 16384


class Track:
    """When one thing began and ended, each time that it was done."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _COUNT.size + _CAPACITY * _TIMES.size)

    def note(self, start: int, end: int) -> None:
        """Add one time, in nanoseconds of the monotonic clock."""
        (count,) = _COUNT.unpack_from(self._memory)
        _TIMES.pack_into(self._memory, _COUNT.size + count * _TIMES.size, start, end)
        _COUNT.pack_into(self._memory, 0, count + 1)

    def clear(self) -> None:
        """Forget what was noted."""
        _COUNT.pack_into(self._memory, 0, 0)

    @property
    def times(self) -> list[tuple[int, int]]:
        """All that was noted."""
        (count,) = _COUNT.unpack_from(self._memory)
        end = _COUNT.size + count * _TIMES.size
        return list(_TIMES.iter_unpack(self._memory[_COUNT.size : end]))

    @property
    def starts(self) -> list[int]:
        """When it began, each time."""
        return [start for start, _ in self.times]

    @property
    def ends(self) -> list[int]:
        """When it ended, each time."""
        return [end for _, end in self.times]


def time_calls(
    owner: object, name: str, only: Callable[..., bool] = lambda *_, **__: True
) -> Track:
    """Replace the function *name* of *owner* by one that notes its times; return their track.

    *only* chooses by the arguments which calls are noted. A call that ends in another process (a
    fork) is noted where it began; one that does not return is not.
    """
    track = Track()
    function: Callable[..., object] = getattr(owner, name)

    @functools.wraps(function)
    def timed(*args: object, **kwargs: object) -> object:
        if not only(*args, **kwargs):
            return function(*args, **kwargs)
        pid = os.getpid()
        start = time.monotonic_ns()
        try:
            return function(*args, **kwargs)
        finally:
            if os.getpid() == pid:
                track.note(start, time.monotonic_ns())

    setattr(owner, name, timed)
    return track
