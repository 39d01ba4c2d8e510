"""What Python does at the end of a process, for a fork that leaves by `os._exit` in its stead.

The standard library's functions of the parent are called too, for what is of this process.
"""

# ruff: noqa: SLF001  # what ends a process has no public names

from __future__ import annotations

import atexit
import sys
import threading
from typing import TYPE_CHECKING
from typing import Any
from typing import final
import weakref

from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator


@final
class Exits:
    """The exit functions of this process without those of its parent; made right after the fork."""

    def __init__(self) -> None:
        atexit._clear()  # multiprocessing does the same
        self._pid = RealOS.getpid()
        registry: Any = weakref.finalize._registry  # type: ignore[attr-defined]
        newest = next(reversed(registry.values()), None)
        self._oldest = 0 if newest is None else newest.index + 1

    def pending(self) -> bool:
        """Return whether anything is to be called or waited for."""
        return (
            atexit._ncallbacks() > 0
            or any(not thread.daemon for thread in _other_threads())
            or self._has_processes()
            or next(self._finalizers(), None) is not None
        )

    def run(self, failed: Callable[[BaseException], None]) -> None:
        """Wait for threads, call exit functions and finalizers; tell *failed* what they raise.

        What functions of `atexit` raise goes to `sys.unraisablehook`.
        """
        self._disown_processes()
        wait: Any = threading._shutdown  # type: ignore[attr-defined]
        for step in (wait, atexit._run_exitfuncs, self._end_processes):
            _attempt(step, failed)
        while finalizer := next(self._finalizers(), None):
            _attempt(finalizer, failed)

    def _has_processes(self) -> bool:
        util: Any = sys.modules.get("multiprocessing.util")
        if util is None:
            return False
        finalizers = list(util._finalizer_registry.values())
        return any(one._pid == self._pid for one in finalizers) or bool(self.processes())

    def processes(self) -> list[Any]:
        """Return the processes that multiprocessing has started here."""
        module: Any = sys.modules.get("multiprocessing.process")
        children = [] if module is None else list(module._children)
        return [one for one in children if one._parent_pid == self._pid]

    def _disown_processes(self) -> None:
        """Let multiprocessing not end the parent's processes: their pids are others' here."""
        module: Any = sys.modules.get("multiprocessing.process")
        if module is not None:
            module._children = set(self.processes())

    def _end_processes(self) -> None:
        # Registered in the parent it was cleared with the parent's, and it does nothing twice.
        if self._has_processes():
            sys.modules["multiprocessing.util"]._exit_function()

    def _finalizers(self) -> Iterator[Callable[[], object]]:
        """Yield the finalizers that were made here and have to be called, the newest first."""
        registry: Any = weakref.finalize._registry  # type: ignore[attr-defined]
        for finalizer, info in reversed(registry.items()):
            if info.index < self._oldest:
                return
            if info.atexit:
                yield finalizer


def _attempt(step: Callable[[], object], failed: Callable[[BaseException], None]) -> None:
    try:
        step()
    except BaseException as error:  # noqa: BLE001  # as at Python's exit: the next is called
        failed(error)


def _other_threads() -> list[threading.Thread]:
    current = threading.current_thread()
    return [thread for thread in threading.enumerate() if thread is not current]


def running_threads() -> list[str]:
    """Return the names of the threads that run beside the main one."""
    main = threading.main_thread()
    return [
        f"{one.name}{' (daemon)' * one.daemon}" for one in threading.enumerate() if one is not main
    ]
