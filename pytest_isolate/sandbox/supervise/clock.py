"""The time that counts against a limit: it stands still while a person looks at the process."""

from __future__ import annotations

import math
from typing import final

from pytest_isolate.wire.real_os import RealOS


@final
class Clock:
    """A monotonic clock, in seconds, that can be stopped."""

    def __init__(self) -> None:
        self._lost = 0.0  #: how long it has stood still by now
        self._stopped: float | None = None  #: when it was stopped

    @property
    def stands(self) -> bool:
        """Whether it is stopped."""
        return self._stopped is not None

    def now(self) -> float:
        """Return the time, of no meaning but for differences."""
        return (RealOS.monotonic() if self._stopped is None else self._stopped) - self._lost

    def stop(self) -> None:
        """Let time stand still; once is enough."""
        if self._stopped is None:
            self._stopped = RealOS.monotonic()

    def go_on(self) -> None:
        """Let time go on from where it was stopped, if it was."""
        if self._stopped is not None:
            self._lost += RealOS.monotonic() - self._stopped
            self._stopped = None


@final
class Deadline:
    """When the patience of *seconds* ends, by *clock*."""

    def __init__(self, seconds: float | None, clock: Clock) -> None:
        self._clock = clock
        self.seconds = math.inf if seconds is None else seconds
        self._time = clock.now() + self.seconds

    def is_over(self) -> bool:
        """Return whether it has passed."""
        return not self._clock.stands and self._clock.now() >= self._time

    def milliseconds(self, at_most: float = math.inf) -> float | None:
        """Return how long to wait for it, *at_most* seconds: as `select.poll` takes it."""
        own = math.inf if self._clock.stands else max(0.0, self._time - self._clock.now())
        left = min(at_most, own)
        return None if left == math.inf else left * 1000
