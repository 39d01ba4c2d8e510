"""Locks that other threads hold at a fork: in the child nobody would ever release them.

So the fork waits, for a moment, until nobody holds one. Of an `RLock` it is known who does: those
that can be had are taken for the time of the fork, so that no other thread is in a section that
they guard; one that cannot is made new in the child, for its thread is not there. Of a `Lock`
nobody knows: the fork waits until it is seen to be free. One that never is may be a signal, or
somebody's for good, and stays as it is.

What is written to a buffered file is guarded by a lock that cannot be seen. Standard output's and
error's are made new, and that of a log whose handler's lock could not be had.
"""

# ruff: noqa: SLF001  # what the standard library does for its own locks

from __future__ import annotations

import _thread  # noqa: PLC2701  # the types of what `threading` makes
import gc
import importlib
import io
import sys
import threading
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_LIMIT_SECONDS: Final = 0.05  #: what the locks of one kind may cost a fork
_LONGER_SECONDS: Final = 0.5  #: the same, of those that have been seen to be free
_MISSES: Final = 3  #: so many in a row, and a lock is not waited for again until it is free
_IMPORT_SECONDS: Final = 5.0  #: what modules may cost it that another thread imports
_PAUSE_SECONDS: Final = 0.0002
_SWITCH_SECONDS: Final = 0.0001  #: how long a thread may go on while it is waited for
#: Locks are looked for again after so many times what that takes; sooner if threads have changed.
_SELDOM: Final = 50
_SOON: Final = 10

_LOCK: Final = type(_thread.allocate_lock())
_RLOCK: Final[Any] = _thread.RLock
_is_locked: Final[Any] = _LOCK.locked


@final
class Locks:
    """The locks of this process, around its forks."""

    def __init__(self) -> None:
        self._recursive: list[Any] = []
        self._watched: list[Any] = []  #: those of the other kind that come free now and then
        self._lasting: list[Any] = []  #: those, of any kind, that do not
        self._seen_free: set[int] = set()
        self._misses: dict[int, int] = {}  #: how often in a row a lock was not seen to be free
        self._held: list[Any] = []
        self._missed: list[Any] = []
        self._alone = True  #: whether there was no other thread
        self._threads: frozenset[int] = frozenset()
        self._looked = -1.0
        self._cost = 0.0

    def take(self) -> None:
        """Wait for a good moment for the fork that comes next: the one in which this returns."""
        frames = sys._current_frames()
        self._alone = len(frames) == 1
        if self._alone:
            return
        self._look_for_them(frames)
        self._await_imports()
        self._take_recursive()
        self._await_others()

    def give_back(self) -> None:
        """Release what was taken, in the parent and in the child."""
        while self._held:
            self._held.pop().release()

    def fix(self) -> None:
        """Free, in the child, what no thread of it can release."""
        self.give_back()
        if self._alone:
            return
        for lock in self._missed:
            lock._at_fork_reinit()
        for stream in (*_standard_streams(), *self._logged_to()):
            buffer = getattr(stream, "buffer", None)
            if type(buffer) is io.BufferedWriter:
                # The parent flushes the standard ones: what is in there is another thread's.
                io.BufferedWriter.__init__(buffer, buffer.raw)

    def _logged_to(self) -> Iterator[object]:
        """Yield the streams that a thread was writing a log to, within its handler's lock."""
        logging: Any = sys.modules.get("logging")
        missed = set(map(id, self._missed))
        for reference in () if logging is None or not missed else list(logging._handlerList):
            handler = reference()
            if id(getattr(handler, "lock", None)) in missed:
                yield getattr(handler, "stream", None)

    def _look_for_them(self, frames: dict[int, FrameType]) -> None:
        """Look for all locks, unless that was done lately."""
        start = time.monotonic()
        threads = frozenset(frames)
        rest = _SELDOM if threads == self._threads else _SOON
        if self._looked >= 0 and start - self._looked < rest * self._cost:
            return
        found = [one for one in _objects() if type(one) is _LOCK or type(one) is _RLOCK]
        lasting = {id(lock) for lock in (*self._lasting, *_signals(frames))}
        self._recursive = [lock for lock in found if type(lock) is _RLOCK]
        self._lasting = [lock for lock in found if id(lock) in lasting]
        self._watched = [lock for lock in found if type(lock) is _LOCK and id(lock) not in lasting]
        self._seen_free &= set(map(id, self._watched))
        self._seen_free |= {id(lock) for lock in self._watched if not lock.locked()}
        self._threads = threads
        self._looked = time.monotonic()
        self._cost = self._looked - start

    def _await_imports(self) -> None:
        """Let other threads finish what they import: half of a module would stay half for ever."""
        end = time.monotonic() + _IMPORT_SECONDS
        while busy := [lock for lock in _imports() if lock not in self._lasting]:
            if time.monotonic() > end:
                self._lasting += busy
                return
            time.sleep(_PAUSE_SECONDS)

    def _take_recursive(self) -> None:
        end = time.monotonic() + _LIMIT_SECONDS
        lasting = {id(lock) for lock in self._lasting}
        self._missed = self._acquire(self._recursive)
        # Not by a wait for each: a thread that takes it again at once would always be faster.
        while any(id(lock) not in lasting for lock in self._missed):
            if time.monotonic() > end:
                break
            _let_others_run()
            self._missed = self._acquire(self._missed)
        self._lasting = [lock for lock in self._lasting if type(lock) is not _RLOCK]
        self._lasting += self._missed

    def _acquire(self, locks: list[Any]) -> list[Any]:
        """Take those of *locks* that can be had, and return the others."""
        missed: list[Any] = []
        for lock in locks:
            (self._held if lock.acquire(blocking=False) else missed).append(lock)
        return missed

    def _await_others(self) -> None:
        freed = [lock for lock in self._lasting if type(lock) is _LOCK and not lock.locked()]
        if freed:
            ids = set(map(id, freed))
            self._lasting = [lock for lock in self._lasting if id(lock) not in ids]
            self._watched += freed
            self._seen_free |= ids
        end = time.monotonic() + _LIMIT_SECONDS
        # From the look at the last lock on no other thread gets its turn until the fork: there is
        # no call and no jump back, by which the interpreter would switch to one.
        while True in map(_is_locked, self._watched):
            if time.monotonic() > end and not self._is_worth_it(end):
                self._give_up()
                return
            _let_others_run()

    def _is_worth_it(self, end: float) -> bool:
        """Return whether to go on after *end*: what a thread takes and gives, it will give."""
        if time.monotonic() > end + _LONGER_SECONDS:
            return False
        return any(lock.locked() and id(lock) in self._seen_free for lock in self._watched)

    def _give_up(self) -> None:
        locked = [lock for lock in self._watched if lock.locked()]
        misses = {id(lock): self._misses.get(id(lock), 0) + 1 for lock in locked}
        lasting = {key for key, number in misses.items() if number >= _MISSES}
        self._misses = misses
        self._lasting += [lock for lock in locked if id(lock) in lasting]
        self._watched = [lock for lock in self._watched if id(lock) not in lasting]


def _standard_streams() -> set[object]:
    return {sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__}


def _let_others_run() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    time.sleep(_PAUSE_SECONDS)
    sys.setswitchinterval(interval)


def _objects() -> list[Any]:
    """Return what the garbage collector knows, frozen or not; locks are among it."""
    frozen = gc.get_freeze_count()
    if frozen:
        gc.unfreeze()
    objects = gc.get_objects()
    if frozen:
        gc.freeze()
    return objects


def _signals(frames: dict[int, FrameType]) -> Iterator[Any]:
    """Yield locks that are locked for as long as a thread lives or waits."""
    for thread in threading.enumerate():
        yield getattr(thread, "_tstate_lock", None)  # up to Python 3.12
    wait = threading.Condition.wait.__code__
    for frame in frames.values():
        if frame.f_code is wait:
            yield frame.f_locals.get("waiter")


def _imports() -> list[Any]:
    """Return the locks of modules that other threads import."""
    modules: dict[str, Any] = getattr(importlib._bootstrap, "_module_locks", {})
    if not modules:
        return []
    own = (None, threading.get_ident())
    locks = [reference() for reference in list(modules.values())]
    return [lock for lock in locks if lock is not None and lock.owner not in own]
