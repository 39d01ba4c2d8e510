"""What isolated tests owe to other plugins: what they need to know, one class or function a plugin.

They keep their books where the test runs, and decide in pytest's process: what they have to know of
a test is told by its process. Which of them is there is asked of the plugin manager; none is
imported.
"""

from __future__ import annotations

from contextlib import suppress
import os
import sys
from typing import TYPE_CHECKING
from typing import Any
from typing import Protocol
from typing import final

import pytest

from pytest_isolate.integrations import allure
from pytest_isolate.integrations import checkers
from pytest_isolate.integrations import directories
from pytest_isolate.integrations import inline_snapshot
from pytest_isolate.integrations import processes
from pytest_isolate.integrations import steps
from pytest_isolate.integrations import testmon
from pytest_isolate.integrations.coverage import COVERED
from pytest_isolate.integrations.coverage import Coverage
from pytest_isolate.integrations.reruns import LEFT
from pytest_isolate.integrations.reruns import ExceptionRecorder
from pytest_isolate.integrations.reruns import Flaky
from pytest_isolate.integrations.reruns import Rerunfailures
from pytest_isolate.integrations.summaries import SUMMARIES
from pytest_isolate.wire.frames import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import Sequence
    from types import ModuleType

    from pytest_isolate.wire.frames import Json

_limit_key = pytest.StashKey[float]()


class TimerSettings(Protocol):
    """What is used of pytest-timeout's settings of a test."""

    timeout: float


@final
class Integrations:
    """The other plugins of one session."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._covered = Coverage()
        self._rerunners: list[Rerunfailures | Flaky] = []
        self._left: dict[str, Json] = {}  #: how the phases of the running test were left, by name

    # --- in the parent ---

    def adopt(self, items: Sequence[pytest.Item]) -> None:
        """Find out which are there, and make them ready for *items*, which are to be isolated.

        Ask when all are configured. Raises UsageError for what cannot be.
        """
        inline_snapshot.disable(self._config, items)
        checkers.run_mypy(self._config, items)
        allure.attend(self._config)
        self._covered.settle()
        if (module := sys.modules.get("pytest_rerunfailures")) and self._has(module):
            self._rerunners.append(Rerunfailures(module))
        if (module := sys.modules.get("flaky.flaky_pytest_plugin")) and self._has(module):
            self._rerunners.append(Flaky(module))

    def _has(self, module: ModuleType) -> bool:
        return self._config.pluginmanager.is_registered(module)

    @property
    def rerun(self) -> bool:
        """Whether another plugin runs some tests again, and shows the reports itself."""
        return bool(self._rerunners)

    def begins(self, item: pytest.Item) -> None:
        """Take note that *item* is to run now."""
        self._left = {}
        testmon.begins(item)
        for rerunner in self._rerunners:
            rerunner.begins(item)

    def hear(self, item: pytest.Item, name: str, change: Json) -> None:
        """Take in what the test process of *item* has said; nonsense is passed over."""
        if name == COVERED:
            self._covered.hear(change)
        elif name == allure.RESULT:
            with suppress(AttributeError, LookupError, TypeError, ValueError):
                allure.hear(item, change)
        elif name == LEFT:
            self._left[str(change.get("when"))] = change
        elif name in SUMMARIES:
            with suppress(AttributeError, LookupError, TypeError, ValueError):
                SUMMARIES[name].hear(item, change)

    def judge(self, item: pytest.Item, reports: Sequence[pytest.TestReport], *, log: bool) -> None:
        """Let who runs tests again see how *item* ended; show its *reports* if they are to be."""
        show = log
        for rerunner in self._rerunners:
            show &= not rerunner.judge(item, reports, self._left, log=log)
        for report in reports if show else ():
            item.ihook.pytest_runtest_logreport(report=report)

    def hand_over(self) -> None:
        """Give the session's plugins what they sum up, when the last test is over."""
        self._covered.hand_over()

    # --- in the test process ---

    def begin(self, item: pytest.Item, send: Callable[[Event], None]) -> Callable[[], None]:
        """Be ready for *item* here; return what is to be called after it."""
        listener = self._covered.listen()
        added = {name: one.listen(self._config) for name, one in SUMMARIES.items()}
        if self._rerunners:
            self._config.pluginmanager.register(
                ExceptionRecorder(send), "isolate-exception-recorder"
            )
        for rerunner in self._rerunners:
            rerunner.enter(item)
        allure.enter(self._config, send)
        processes.enter(self._config)
        steps.enter(self._config)
        testmon.enter(item)

        def end() -> None:
            for name, entries in added.items():
                for entry in entries() if entries is not None else ():
                    send(Event(name, entry))
            for event in listener.entries() if listener is not None else ():
                send(event)

        return end


# --- directories and limits ---


def shared_directories(config: pytest.Config, items: Iterable[pytest.Item]) -> Iterator[str]:
    """Yield the directories of other plugins that outlive a test, made if they are not there."""
    yield from directories.of_options(config)
    yield from directories.temporary(config)
    configuration: Any = sys.modules.get("hypothesis.configuration")
    uses = any(getattr(getattr(item, "obj", None), "hypothesis", None) for item in items)
    if configuration is not None and uses:
        with suppress(OSError):
            storage = configuration.storage_directory()
            storage.create_if_missing()
            yield os.fspath(storage.path)


def take_limit(item: pytest.Item, settings: TimerSettings) -> None:
    """Let the limit that pytest-timeout would set a timer for be the sandbox's."""
    item.stash[_limit_key] = settings.timeout


def limit(item: pytest.Item) -> float | None:
    """Return pytest-timeout's limit for *item* as a whole, in seconds."""
    return item.stash.get(_limit_key, None)
