"""Executors of concurrent.futures that were used before a fork: their workers are not in the child.

They count idle workers and would wait for one of them for ever, so in a test process they start
anew. What its workers were at in the parent is not done in the child.
"""

# ruff: noqa: SLF001  # there is no other way to it

from __future__ import annotations

from contextlib import suppress
import sys
import threading
from typing import TYPE_CHECKING
from typing import Any

if TYPE_CHECKING:
    from collections.abc import Iterator


def in_use() -> tuple[Any, ...]:
    """Return the executors that have started workers in this process."""
    found = {id(executor): executor for executor in (*_of_threads(), *_of_processes())}
    return tuple(found.values())


def renew(executors: tuple[Any, ...]) -> None:
    """Let *executors*, which were in use before the fork, start workers of this process."""
    for executor in executors:
        # Inner names change with Python's versions; most tests can do without.
        with suppress(AttributeError, TypeError):
            if hasattr(executor, "_processes"):
                _renew_processes(executor)
            else:
                _renew_threads(executor)


def _of_threads() -> Iterator[Any]:
    module: Any = sys.modules.get("concurrent.futures.thread")
    if module is None:
        return
    for thread in list(module._threads_queues):
        # A worker has a weak reference to its executor as the first argument.
        args = getattr(thread, "_args", ())
        if args and isinstance(executor := args[0](), module.ThreadPoolExecutor):
            yield executor


def _of_processes() -> Iterator[Any]:
    module: Any = sys.modules.get("concurrent.futures.process")
    if module is None:
        return
    for thread in list(module._threads_wakeups):
        executor = thread.executor_reference()
        if executor is not None and not executor._shutdown_thread:
            yield executor


def _renew_threads(executor: Any) -> None:  # noqa: ANN401  # mypy knows nothing of its inner names
    # What waits in its queue stays there, for the first worker.
    executor._threads.clear()
    executor._idle_semaphore = threading.Semaphore(0)
    executor._shutdown_lock = threading.Lock()


def _renew_processes(executor: Any) -> None:  # noqa: ANN401  # as above
    sys.modules["concurrent.futures.process"].ProcessPoolExecutor.__init__(
        executor,
        executor._max_workers,
        executor._mp_context,
        executor._initializer,
        executor._initargs,
        max_tasks_per_child=executor._max_tasks_per_child,
    )
