"""A fork whose child does something of its own before Python's at-fork handlers run in it.

Other people's handlers (`os.register_at_fork`) start threads, and a process of two threads can
enter no user namespace; they close, open and write descriptors, and what a thread has given up
(capabilities) it gives up for itself alone. So they have to find the process where it will stay.

CPython runs handlers of a forked child in the order of their registration, from a list that no
interface leads to, after it has made its own state good: other threads' are gone, locks and the
import lock are new. A handler at the front of that list may therefore do anything that a process
of one thread may. Where C libraries have threads, it has to come before their handlers too: see
`libraries`.
"""

from __future__ import annotations

import _imp  # noqa: PLC2701  # `imp` is gone
from contextlib import nullcontext
from functools import cache
import gc
import os
import posix
import threading
from typing import TYPE_CHECKING
from typing import Any
from typing import final
import warnings

from pytest_isolate.sandbox.launch import libraries
from pytest_isolate.sandbox.launch.locks import Locks

if TYPE_CHECKING:
    from collections.abc import Callable


def fork(first: Callable[[], None], in_parent: tuple[Any, ...] = ()) -> int:
    """Fork as `os.fork`; the child calls *first*, which must not raise, and then the handlers.

    *in_parent* is a function of C and its arguments: called there before libraries' handlers run,
    if libraries have threads.
    """
    return _front().fork(first, in_parent)


@cache
def _front() -> _Front:
    # Once a process: what is registered stays so.
    return _Front()


@final
class _Front:
    """The handlers next to the fork, which act in the forks that are made by it and in no other."""

    def __init__(self) -> None:
        self._first: Callable[[], None] | None = None
        self._thread = 0
        self._locks = Locks()
        self._early = False  #: whether the child runs handlers twice, ours first
        self._others: list[Any] = []  #: the other handlers in a child, while they are to wait
        before, in_parent, in_child = self._before, self._in_parent, self._in_child
        os.register_at_fork(before=before, after_in_parent=in_parent, after_in_child=in_child)
        # Before a fork they run from the end on.
        _move_to_front(before)
        _move_to_front(in_parent)
        self._in_children = _move_to_front(in_child)

    def fork(self, first: Callable[[], None], in_parent: tuple[Any, ...]) -> int:
        self._first = first
        self._thread = threading.get_ident()
        self._early = self._in_children is not None and libraries.matter()
        try:
            with (
                libraries.ahead(*(in_parent or (int,))) if self._early else nullcontext(),
                warnings.catch_warnings(),
            ):
                # Python 3.12 warns of a fork with threads; ours is said once, in our words, by the
                # caller.
                warnings.simplefilter("ignore", DeprecationWarning)
                # Not by `os`, where a debugger's own stands: it starts threads in the child.
                return posix.fork()
        finally:
            self._first = None

    def _is_ours(self) -> bool:
        # Another thread may fork while handlers that run before the fork let it.
        return self._first is not None and threading.get_ident() == self._thread

    def _before(self) -> None:
        if self._is_ours():
            self._locks.take()
            if self._early and self._in_children is not None:
                self._others = self._in_children[1:]
                del self._in_children[1:]

    def _in_parent(self) -> None:
        if self._is_ours():
            self._let_others()
            self._locks.give_back()

    def _in_child(self) -> None:
        if self._is_ours() and (first := self._first) is not None:
            self._first = None
            self._let_others()
            self._locks.fix()
            first()
            if self._early:
                _imp.acquire_lock()  # Python 3.13 releases it, each time
        elif self._others:
            # A fork of another thread, which came in between.
            for other in self._let_others():
                other()

    def _let_others(self) -> list[Any]:
        others, self._others = self._others, []
        if self._in_children is not None:
            self._in_children += others
        return others


def _move_to_front(handler: Callable[[], None]) -> list[Any] | None:
    """Move *handler* to the front of the list that it has just been appended to, and return that.

    Where there is no such list, not CPython, it stays behind those of earlier imports.
    """
    handlers = _list_with(handler)
    if handlers is None and gc.get_freeze_count():
        # What is frozen is not looked through.
        gc.unfreeze()
        handlers = _list_with(handler)
        gc.freeze()
    if handlers is not None:
        # No other thread comes in between: one call each, of C.
        handlers.insert(0, handlers[-1])
        del handlers[-1]
    return handlers


def _list_with(handler: Callable[[], None]) -> list[Any] | None:
    for one in gc.get_referrers(handler):
        if type(one) is list and one and one[-1] is handler:
            return one
    return None
