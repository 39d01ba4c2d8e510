"""Forks of a process in which C libraries have threads: ours is done before their handlers run.

A library that must live on after a fork (gRPC is one) asks for it by pthread_atfork(3): after each
fork it starts its threads anew, in parent and child. In the child that is too early, for a process
of several threads can enter no user namespace; in the parent it fails while the next child's PID
namespace is another than its own. Both are cured by a handler of libc's that runs before theirs,
so by one that was registered before theirs: `register` early.

Within libc's fork no byte code may run: CPython holds locks, and in the child there are others'
threads to it that do not exist. So what runs is C all through: a callback of ctypes that calls a
`functools.partial` of a function of C. In a child it calls `PyOS_AfterFork_Child`, after which
Python is what it is after each fork, and may do anything; `os.fork` calls that once more.
"""

from __future__ import annotations

import _thread  # noqa: PLC2701  # `threading` counts fewer
from contextlib import contextmanager
import ctypes
from functools import partial
import os
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

from pytest_isolate.sandbox.linux import libc

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

_HANDLER: Final = ctypes.CFUNCTYPE(None)
#: The state of a partial that calls a function of C which does nothing.
_NOTHING: Final[tuple[Any, ...]] = (int, (), {}, None)
_TASKS: Final = "/proc/self/task"
#: Links of a directory that has no directories below it.
_OWN_LINKS: Final = 2


class _Handlers:
    """What is registered with libc for good, and does nothing until it is told to."""

    def __init__(self) -> None:
        self.in_parent: Any = partial(int)
        self.in_child: Any = partial(int)
        self.are_late = _has_threads()
        callbacks = _HANDLER(self.in_parent), _HANDLER(self.in_child)
        # What is registered stays so, and this module may go: pytester's runs within a process take
        # the modules that they have imported out of `sys.modules`.
        for callback in callbacks:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(callback))
        libc.pthread_atfork(*callbacks)


_registered: list[_Handlers] = []


def register() -> None:
    """Be before the libraries that are loaded from now on. Once a process."""
    if not _registered:
        _registered.append(_Handlers())


def matter() -> bool:
    """Return whether forks are to be done with before libraries are. One system call."""
    return bool(_registered) and _has_threads()


def came_first() -> bool:
    """Return whether libraries had threads before `register`: nothing is done before they are."""
    return bool(_registered) and _registered[0].are_late and _has_threads()


def _has_threads() -> bool:
    """Return whether this process has threads that are not Python's."""
    # The main thread is not counted by `_thread`.
    return os.stat(_TASKS).st_nlink - _OWN_LINKS - 1 - _thread._count() > 0  # noqa: SLF001  # as above


@contextmanager
def ahead(in_parent: Callable[..., Any], *arguments: Any) -> Iterator[None]:  # noqa: ANN401  # C's
    """Have forks meanwhile be done with by Python, and by *in_parent* of C, before libraries are.

    A child of `os.fork` runs Python's own handlers twice.
    """
    (handlers,) = _registered
    handlers.in_parent.__setstate__((in_parent, arguments, {}, None))
    handlers.in_child.__setstate__((libc.after_fork_in_child, (), {}, None))
    try:
        yield
    finally:
        handlers.in_parent.__setstate__(_NOTHING)
        handlers.in_child.__setstate__(_NOTHING)
