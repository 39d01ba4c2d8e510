"""What is asked of a sandbox before the one who waits for it lets it die.

The process is asked for its last words by a signal, the kernel for everything else. All of it takes
milliseconds, and happens only where something has gone wrong.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from contextlib import nullcontext
from contextlib import suppress
from dataclasses import replace
import enum
import os
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox.cgroups.oom_notifier import GROUP_IS_GONE
from pytest_isolate.sandbox.linux import pidfds
from pytest_isolate.sandbox.linux import process_tree
from pytest_isolate.sandbox.supervise.copied_files import being_copied
from pytest_isolate.sandbox.supervise.largest_files import Store
from pytest_isolate.sandbox.supervise.largest_files import largest
from pytest_isolate.sandbox.supervise.largest_files import stores
from pytest_isolate.sandbox.supervise.last_words import PAUSE
from pytest_isolate.sandbox.supervise.last_words import SHORT_WORDS_SECONDS
from pytest_isolate.sandbox.supervise.last_words import WORDS_SECONDS
from pytest_isolate.sandbox.supervise.last_words import ask
from pytest_isolate.sandbox.supervise.last_words import listen
from pytest_isolate.sandbox.supervise.snapshot import Snapshot
from pytest_isolate.sandbox.supervise.snapshot import by_kind
from pytest_isolate.sandbox.supervise.snapshot import read_processes
from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Mapping

    from pytest_isolate.sandbox.cgroups.oom_notifier import OomNotifier
    from pytest_isolate.sandbox.handle import Sandbox
    from pytest_isolate.sandbox.launch.process import Process
    from pytest_isolate.sandbox.supervise.last_words import LastWords
    from pytest_isolate.sandbox.supervise.snapshot import Large
    from pytest_isolate.sandbox.supervise.snapshot import ProcessInfo

_KILL_SECONDS: Final = 0.3  #: how long the kernel may take to kill for memory that is asked for
_DEATH_SECONDS: Final = 1.0  #: how long whom it kills may take to free the memory
_MOST_STOPPED: Final = 16  #: processes that are asked what they copy
_MOST_RINGS: Final = 16  #: that are looked into, of one sandbox: after that the kernel just kills


class Answer(enum.Enum):
    """What comes of a notifier that was looked into."""

    LISTEN = enum.auto()  #: it may ring again
    ENOUGH = enum.auto()  #: it is not looked into any more
    DENIED = enum.auto()  #: the kernel had nobody to kill for the memory, so all were killed


@final
class PostMortem:
    """What is found out about one process and its sandbox."""

    def __init__(self, process: Process, sandbox: Sandbox, words: LastWords | None) -> None:
        self._process = process
        self._sandbox = sandbox
        self._words = words
        self._rings = 0
        self._killed: list[ProcessInfo] = []
        self._copying: dict[str, Large] = {}
        self._shared = 0  #: bytes of files that were in memory when it was full
        self._files: tuple[Large, ...] = ()
        self._snapshot: Snapshot | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        """The sandbox when it was looked at last, and whom the kernel had killed by then."""
        if self._snapshot is None:
            return None
        there = {large.path for large in self._files}
        lost = (large for large in self._copying.values() if large.path not in there)
        files = (*lost, *self._files)
        return replace(self._snapshot, killed=tuple(self._killed), files=files)

    def at_deadline(self) -> None:
        """Look around and ask for last words, before everything is killed for the time."""
        if self._words is not None:
            self._words.forget()
            if ask(self._process, self._words):
                listen(self._process, self._words, WORDS_SECONDS)
        self._look()

    def afterwards(self, *, out_of_memory: bool) -> None:
        """Look at what the process has left behind, if nothing was seen before."""
        if self._snapshot is None:
            self._snapshot = replace(self._look(), seen=None)
        if out_of_memory and not self._files:
            with self._stores() as found:
                self._files = largest(found)

    def _stores(self) -> AbstractContextManager[tuple[Store, ...]]:
        init = pidfds.pid_of(self._sandbox.init)
        if init is None or self._sandbox.spec.partial:
            return nullcontext(())
        return stores(init, self._sandbox.upper)

    def _note_copying(self, notifier: OomNotifier, statistics: Mapping[str, int]) -> None:
        """Note which file of the host is being copied, if it is files that the memory is full of.

        A copy that does not fit is gone afterwards, and its system call is denied memory.
        """
        self._shared = statistics.get("shmem", 0)
        if notifier.denies or 2 * self._shared > sum(by_kind(statistics).values()):
            pids = process_tree.namespace_of(self._sandbox.init)
            for large in being_copied(pids[:_MOST_STOPPED]):
                self._copying[large.path] = large

    def _look(self, statistics: Mapping[str, int] | None = None) -> Snapshot:
        seen = RealOS.monotonic()
        notifier = self._sandbox.notifier
        if statistics is None:
            statistics = {} if notifier is None else notifier.statistics()
        if self._sandbox.spec.partial:
            pids: Collection[int] = process_tree.descendants((self._process.pid,))
        else:
            pids = process_tree.namespace_of(self._sandbox.init)
        processes = read_processes(pids, self._process.inner_pid())
        self._snapshot = Snapshot(processes=processes, memory=by_kind(statistics), seen=seen)
        return self._snapshot

    def answer(self, notifier: OomNotifier) -> Answer:
        """Look into it that *notifier* rings, and let the kernel decide.

        Without a need for last words the kernel decides at once. A keeper that leaves removes the
        group, and that rings, too: the process may not have heard of its end yet.
        """
        try:
            return self._look_into(notifier)
        except OSError as error:
            if error.errno not in GROUP_IS_GONE:
                raise
            return Answer.ENOUGH

    def _look_into(self, notifier: OomNotifier) -> Answer:
        if not notifier.is_real():
            return Answer.LISTEN
        if self._words is None:
            notifier.enforce()
            notifier.enforce_now()
            return Answer.ENOUGH
        self._rings += 1
        before, former = self._kills(), self._snapshot
        statistics = notifier.statistics()  # before room is made
        self._note_copying(notifier, statistics)
        words = self._words.text()
        self._words.make_room()
        heard = ask(self._process, self._words, notifier)
        # Not later: the kernel may kill before it is let.
        with _Deaths(self._look(statistics)) as deaths:
            if heard and not listen(self._process, self._words, SHORT_WORDS_SECONDS):
                notifier.grant_headroom()
                listen(self._process, self._words, WORDS_SECONDS)
            self._words.restore(words)
            if self._words.have_crashed():
                return self._enforce()
            notifier.enforce()
            kills = self._await_kill(before)
            if not kills:
                notifier.enforce_now()
                kills = self._kills() - before
            if kills:
                self._killed += deaths.first(kills)
                with self._stores() as found:
                    self._files = largest(found)
        if not kills:
            return self._without_kill(notifier, former)
        return _arm(notifier) if self._rings < _MOST_RINGS else Answer.ENOUGH

    def _enforce(self) -> Answer:
        """Let all of it end for the memory, in the kernel's stead."""
        with self._stores() as found:
            self._sandbox.kill()
            self._files = largest(found)
        return Answer.DENIED

    def _without_kill(self, notifier: OomNotifier, former: Snapshot | None) -> Answer:
        """Decide where the kernel was out of memory, and had nobody to kill when it was let."""
        if notifier.denies or self._has_failed_to_copy(notifier):
            return self._enforce()
        self._snapshot = former
        if self._words is not None and former is None:
            self._words.forget()
        return _arm(notifier)

    def _has_failed_to_copy(self, notifier: OomNotifier) -> bool:
        """Return whether a copy of a host's file has met the limit and is gone.

        The kernel does not tell of memory that it denies to a system call.
        """
        if not self._copying or not self._sandbox.evidence().limit_hits:
            return False
        return 2 * notifier.statistics().get("shmem", 0) < self._shared

    def _kills(self) -> int:
        return self._sandbox.evidence().oom_kills or 0

    def _await_kill(self, before: int) -> int:
        """Return how many kills the kernel counts after it was let, more than *before*."""
        deadline = RealOS.monotonic() + _KILL_SECONDS
        while (kills := self._kills() - before) == 0 and RealOS.monotonic() < deadline:
            if pidfds.has_ended(self._process.pidfd, PAUSE):
                return self._kills() - before
        return kills

    def missed(self) -> bool:
        """Return whether the process ended by itself after it was denied memory."""
        notifier = self._sandbox.notifier
        try:
            return notifier is not None and self._rings == 0 and notifier.denies
        except FileNotFoundError:  # a keeper that leaves removes the group, and that rings
            return False


def _arm(notifier: OomNotifier) -> Answer:
    """Arm *notifier* again; where the memory is not free yet, the next death is not looked at."""
    try:
        notifier.arm()
    except OSError:
        return Answer.ENOUGH
    return Answer.LISTEN


@final
class _Deaths:
    """Who of a snapshot's processes dies first."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._processes = snapshot.processes
        self._pidfds: dict[int, ProcessInfo] = {}

    def __enter__(self) -> _Deaths:
        for process in self._processes:
            with suppress(OSError):
                self._pidfds[os.pidfd_open(process.outer)] = process
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._pidfds:
            RealOS.close(fd)

    def first(self, number: int) -> list[ProcessInfo]:
        """Return the first *number* to die, the larger first where they die together."""
        deadline = RealOS.monotonic() + _DEATH_SECONDS
        alive = dict(self._pidfds)
        dead: list[ProcessInfo] = []
        while len(dead) < number and alive and (left := deadline - RealOS.monotonic()) > 0:
            now = pidfds.ended(alive, left)
            dead += [alive.pop(fd) for fd in tuple(alive) if fd in now]
        return dead[:number]
