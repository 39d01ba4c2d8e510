"""What a test process has to know of the process that it is a fork of: its plugins and threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING
from typing import final

from pytest_isolate._compat import hookimpls
from pytest_isolate.child.program import Forwarder
from pytest_isolate.integrations.registry import Integrations
from pytest_isolate.transfer.notes.books import NO_HOOKS
from pytest_isolate.transfer.notes.books import find_hooks

if TYPE_CHECKING:
    import pytest

    from pytest_isolate.transfer.notes.books import Hooks


@final
class Surroundings:
    """The plugins and threads of one session."""

    def __init__(self, config: pytest.Config) -> None:
        self.forwarder = Forwarder()
        self.integrations = Integrations(config)
        self._config = config
        self._hooks = NO_HOOKS
        self._reporters: hookimpls.Unhooking | None = None
        self._plugins = -1  #: how many there were when the two were found
        self._threads = _threads()
        config.pluginmanager.register(self.forwarder, "isolate-forwarder")

    def hooks(self) -> Hooks:
        """Return the hooks in which other plugins may note something of a test."""
        self._look_at_plugins()
        return self._hooks

    def reporters(self, session: pytest.Session) -> hookimpls.Unhooking:
        """Return how reporters leave their hooks in a test process."""
        self._look_at_plugins()
        if self._reporters is None:
            self._reporters = hookimpls.without_reporters(self._config, (self.forwarder, session))
        return self._reporters

    def _look_at_plugins(self) -> None:
        """See whether there are other plugins than last time."""
        plugins = hookimpls.number_of_plugins(self._config)
        if plugins != self._plugins:
            self._plugins, self._hooks = plugins, find_hooks(self._config)
            self._reporters = None

    def new_threads(self) -> tuple[str, ...]:
        """Return the names of threads that are new since the last time."""
        threads = _threads()
        new = threads - self._threads
        self._threads |= threads
        return tuple(sorted(new))

    def forget_threads(self) -> None:
        """Let the threads that run now be no test's concern: those of plugins and modules."""
        self._threads = _threads()


def _threads() -> set[str]:
    return {
        thread.name
        for thread in threading.enumerate()
        # A dummy is a thread that is not Python's own making.
        if not isinstance(thread, threading._DummyThread)  # noqa: SLF001
    }
