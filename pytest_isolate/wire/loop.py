"""Waiting on many descriptors at once: a handler for each, called when it is readable."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING
from typing import final

if TYPE_CHECKING:
    from collections.abc import Callable


@final
class Loop:
    """Descriptors and their handlers; the descriptors stay their owners'."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], None]] = {}

    def watch(self, fd: int, handler: Callable[[], None]) -> None:
        """Have *handler* called whenever *fd* is readable, or at its end."""
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        """Watch *fd* no longer; call it before *fd* is closed."""
        del self._handlers[fd]
        self._poll.unregister(fd)

    def turn(self, seconds: float | None = None) -> None:
        """Wait until something is readable, *seconds* at most, and call the handlers."""
        events = self._poll.poll(None if seconds is None else max(0.0, seconds) * 1000)
        due = [(fd, self._handlers[fd]) for fd, _ in events]
        for fd, handler in due:
            # An earlier handler may have closed the descriptor, and its number be another's now.
            if self._handlers.get(fd) is handler:
                handler()
