"""multiprocessing in a forked test process: as a fresh interpreter has it.

What pytest's process has started is not in the sandbox: its fork server, its resource tracker, its
temporary directory, the workers of its pools. multiprocessing knows them by module variables, and
would wait for, write to or kill what it takes for them. None of it is closed or ended here, for it
is the parent's; it is forgotten. Nothing is imported for that.
"""

# ruff: noqa: SLF001  # there is no other way to forget

from __future__ import annotations

import atexit
from contextlib import suppress
from functools import partial
import itertools
import sys
from typing import Any
from typing import Final

#: What was set by a program, and not by a server's start.
_SETTINGS: Final = frozenset({"_preload_modules"})


def forget() -> None:
    """Forget the parent's processes, as far as multiprocessing is in use."""
    process, util = _module("process"), _module("util")
    if process is None or util is None:
        return
    steps = (
        partial(_restart_when_used, util),  # by what the next one forgets
        partial(_forget_children, process, util),
        partial(_renew, "forkserver", "_forkserver"),
        partial(_renew, "resource_tracker", "_resource_tracker"),
        partial(_run_after_forkers, util),
        # As the exit function that was cleared with the parent's, but nobody waits for processes
        # and queues: they end with the sandbox.
        lambda: atexit.register(util._run_finalizers, 0),
    )
    for step in steps:
        # Inner names change with Python's versions; most tests can do without.
        with suppress(AttributeError, TypeError):
            step()


def _module(name: str) -> Any:  # noqa: ANN401  # mypy knows nothing of their inner names
    return sys.modules.get(f"multiprocessing.{name}")


def _forget_children(process: Any, util: Any) -> None:  # noqa: ANN401  # modules
    # Finalizers know their process by its pid, and the one here may be the same.
    util._finalizer_registry.clear()
    process._children = set()
    process._process_counter = itertools.count(1)
    process.current_process()._config.pop("tempdir", None)


def _renew(module: str, name: str) -> None:
    """Make an object, whose methods others have by name, what it was at first."""
    owner = getattr(_module(module), name, None)
    if owner is None:
        return
    fresh = vars(type(owner)())
    vars(owner).update({key: value for key, value in fresh.items() if key not in _SETTINGS})


def _run_after_forkers(util: Any) -> None:  # noqa: ANN401  # a module
    """Let queues, proxies and so on know of the fork, as in a process of multiprocessing's own."""
    synchronize = _module("synchronize")
    registered = sorted(util._afterfork_registry.items(), key=lambda row: row[0][:2])
    for (_, _, function), one in registered:
        if synchronize is not None and isinstance(one, synchronize.SemLock):
            # It would forget that it is held by this thread, which goes on here.
            continue
        with suppress(Exception):  # as multiprocessing does
            function(one)


def _restart_when_used(util: Any) -> None:  # noqa: ANN401  # a module
    """Have the pools made anew that were not ended; their workers would cost more than a test."""
    if (module := _module("pool")) is None:
        return
    finalizers = util._finalizer_registry.values()
    owners = (getattr(finalizer, "_weakref", None) for finalizer in finalizers)
    for pool in [owner() for owner in owners if owner is not None]:
        if isinstance(pool, module.Pool) and pool._state == module.RUN:
            pool._check_running = partial(_restart, pool)


def _restart(pool: Any) -> None:  # noqa: ANN401  # mypy knows nothing of its inner names
    """Give *pool* workers of this process."""
    del pool._check_running
    module = _module("pool")
    if isinstance(pool, module.ThreadPool):
        module.ThreadPool.__init__(pool, pool._processes, pool._initializer, pool._initargs)
        return
    module.Pool.__init__(
        pool,
        pool._processes,
        pool._initializer,
        pool._initargs,
        pool._maxtasksperchild,
        pool._ctx,
    )
