"""What is asked of a sandbox before the one who waits for it lets it die.

The process is asked for its last words by a signal, the kernel for everything else. All of it takes
milliseconds, and happens only where something has gone wrong.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace
import os
import select
import signal
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox import _libc
from pytest_isolate.sandbox import family
from pytest_isolate.sandbox.scene import Scene
from pytest_isolate.sandbox.scene import by_kind
from pytest_isolate.sandbox.scene import catches
from pytest_isolate.sandbox.scene import inmates
from pytest_isolate.sandbox.scene import namespace_of
from pytest_isolate.sandbox.scene import waiting_thread
from pytest_isolate.wire.genuine import Genuine

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Mapping

    from pytest_isolate.sandbox.cgroups.alarm import Alarm
    from pytest_isolate.sandbox.pool import Lease
    from pytest_isolate.sandbox.process import Process
    from pytest_isolate.sandbox.scene import Inmate

#: How long last words may take: some threads' stacks take 2 ms, but on a busy machine the process
#: has to get a processor first.
_WORDS_SECONDS: Final = 2.0
_SHORT_WORDS_SECONDS: Final = 0.1  #: the same, before more room is made for them
_WORDS_ROOM: Final = 1 << 16  #: bytes
#: Before words that were said at an earlier alarm, where the process has not answered since.
_EARLIER: Final = b"(of an earlier moment: at the last one the process did not answer)\n"
_PAUSE: Final = 0.002
_QUIET: Final = 50  #: pauses without a further word that end the words
_LONGEST_END: Final = 512  #: bytes
_KILL_SECONDS: Final = 0.3  #: how long the kernel may take to kill for memory that is asked for
_DEATH_SECONDS: Final = 1.0  #: how long whom it kills may take to free the memory
_MOST_ALARMS: Final = 16  #: that are looked into, of one sandbox: after that the kernel just kills


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWords:
    """How a process says where it is: signal *number* makes it write to *file*."""

    number: int
    file: int
    ends: tuple[bytes, ...] = ()  #: what it ends with if it could say everything

    def forget(self) -> None:
        """Drop what was written so far; the process shares the position."""
        Genuine.ftruncate(self.file, 0)
        Genuine.lseek(self.file, 0, os.SEEK_SET)

    def make_room(self) -> None:
        """Have pages for what will be written: the process may not be given any."""
        self.forget()
        os.pwrite(self.file, bytes(_WORDS_ROOM), 0)

    def text(self) -> bytes:
        """Return what was written."""
        return Genuine.pread(self.file, self.size(), 0)

    def restore(self, text: bytes) -> None:
        """Keep to *text*, what was written before, and say so, if there was nothing since."""
        if self.size() == 0 and text:
            text = _EARLIER + text.removeprefix(_EARLIER)
            os.pwrite(self.file, text, 0)
            Genuine.lseek(self.file, len(text), os.SEEK_SET)

    def are_complete(self) -> bool:
        """Return whether they end as they should."""
        start = max(0, self.size() - _LONGEST_END)
        return Genuine.pread(self.file, self.size() - start, start).endswith(self.ends)

    def size(self) -> int:
        """Return how much was written."""
        return Genuine.lseek(self.file, 0, os.SEEK_CUR)


def _ask(process: Process, words: LastWords, alarm: Alarm | None = None) -> bool:
    """Ask *process* for its last words, with the room that *alarm* makes, if it can hear that."""
    pid = process.inner_pid()
    if not catches(pid, words.number):
        return False
    # Woken with the signal at hand, a thread that waits for memory acts on it before all else. For
    # another one room is made first: the kernel writes the frame of a handler to its stack, and
    # kills the process with SIGSEGV where that page cannot be had.
    waiting = waiting_thread(pid) if alarm is not None and alarm.denies else None
    with suppress(ProcessLookupError):
        if waiting is not None:
            _libc.tgkill(pid, waiting, words.number)
        if alarm is not None:
            alarm.make_room()
        if waiting is None:
            signal.pidfd_send_signal(process.pidfd, words.number)
    return True


def _await_words(process: Process, words: LastWords, seconds: float) -> bool:
    """Wait until there were words and no more come; return whether there are any."""
    ended = select.poll()
    ended.register(process.pidfd, select.POLLIN)
    deadline = Genuine.monotonic() + seconds
    last, quiet = 0, 0
    while quiet < _QUIET and Genuine.monotonic() < deadline:
        if ended.poll(_PAUSE * 1000):
            break
        size = words.size()
        quiet = quiet + 1 if size == last != 0 else 0
        if quiet and words.are_complete():
            break
        last = size
    return words.size() != 0


@final
class Inquest:
    """What is found out about one process and its sandbox."""

    def __init__(self, process: Process, lease: Lease, words: LastWords | None) -> None:
        self._process = process
        self._lease = lease
        self._words = words
        self._alarms = 0
        self._killed: list[Inmate] = []
        self._scene: Scene | None = None
        #: Whether everything was killed because the kernel was out of memory for it, and waited.
        self.enforced = False

    @property
    def scene(self) -> Scene | None:
        """The sandbox when it was looked at last, and whom the kernel had killed by then."""
        if self._scene is None:
            return None
        return replace(self._scene, killed=tuple(self._killed))

    def at_deadline(self) -> None:
        """Look around and ask for last words, before everything is killed for the time."""
        if self._words is not None:
            self._words.forget()
            if _ask(self._process, self._words):
                _await_words(self._process, self._words, _WORDS_SECONDS)
        self._look()

    def afterwards(self) -> None:
        """Look at what the process has left behind, if nothing was seen before."""
        if self._scene is None:
            self._scene = replace(self._look(), seen=None)

    def _look(self, statistics: Mapping[str, int] | None = None) -> Scene:
        seen = Genuine.monotonic()
        alarm = self._lease.alarm
        if statistics is None:
            statistics = {} if alarm is None else alarm.statistics()
        if self._lease.spec.partial:
            pids: Collection[int] = family.descendants((self._process.pid,))
        else:
            pids = namespace_of(self._lease.init)
        processes = inmates(pids, self._process.inner_pid())
        self._scene = Scene(processes=processes, memory=by_kind(statistics), seen=seen)
        return self._scene

    def answer(self, alarm: Alarm) -> bool:
        """Look into it that *alarm* rings, and let the kernel strike; return whether to go on so.

        Without a need for last words the kernel strikes at once.
        """
        if not alarm.is_real():
            return True
        if self._words is None:
            alarm.strike()
            alarm.insist()
            return False
        self._alarms += 1
        before, former = self._kills(), self._scene
        statistics = alarm.statistics()  # before room is made
        words = self._words.text()
        self._words.make_room()
        heard = _ask(self._process, self._words, alarm)
        # Not later: the kernel may strike before it is let.
        with _Deaths(self._look(statistics)) as deaths:
            if heard and not _await_words(self._process, self._words, _SHORT_WORDS_SECONDS):
                alarm.make_room()
                _await_words(self._process, self._words, _WORDS_SECONDS)
            self._words.restore(words)
            alarm.strike()
            kills = self._await_kill(before)
            if not kills:
                alarm.insist()
                kills = self._kills() - before
            if kills:
                self._killed += deaths.first(kills)
        if not kills:
            return self._without_kill(alarm, former)
        return self._alarms < _MOST_ALARMS and _armed(alarm)

    def _without_kill(self, alarm: Alarm, former: Scene | None) -> bool:
        """Decide where the kernel was out of memory, and had nobody to kill when it was let."""
        if alarm.denies:
            self.enforced = True
            self._lease.kill()
            return False
        self._scene = former
        if self._words is not None and former is None:
            self._words.forget()
        return _armed(alarm)

    def _kills(self) -> int:
        return self._lease.evidence().oom_kills or 0

    def _await_kill(self, before: int) -> int:
        """Return how many kills the kernel counts after it was let, more than *before*."""
        ended = select.poll()
        ended.register(self._process.pidfd, select.POLLIN)
        deadline = Genuine.monotonic() + _KILL_SECONDS
        while (kills := self._kills() - before) == 0 and Genuine.monotonic() < deadline:
            if ended.poll(_PAUSE * 1000):
                return self._kills() - before
        return kills

    def missed(self) -> bool:
        """Return whether the process ended by itself after it was denied memory."""
        alarm = self._lease.alarm
        return alarm is not None and self._alarms == 0 and alarm.denies


def _armed(alarm: Alarm) -> bool:
    """Arm *alarm* again; where the memory is not free yet, the next death is not looked at."""
    try:
        alarm.arm()
    except OSError:
        return False
    return True


@final
class _Deaths:
    """Who of a scene's processes dies first."""

    def __init__(self, scene: Scene) -> None:
        self._processes = scene.processes
        self._pidfds: dict[int, Inmate] = {}

    def __enter__(self) -> _Deaths:
        for inmate in self._processes:
            with suppress(OSError):
                self._pidfds[os.pidfd_open(inmate.outer)] = inmate
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._pidfds:
            Genuine.close(fd)

    def first(self, number: int) -> list[Inmate]:
        """Return the first *number* to die, the larger first where they die together."""
        watched = select.poll()
        for fd in self._pidfds:
            watched.register(fd, select.POLLIN)
        deadline = Genuine.monotonic() + _DEATH_SECONDS
        dead: list[Inmate] = []
        while len(dead) < number and self._pidfds:
            left = deadline - Genuine.monotonic()
            if left <= 0:
                break
            now = {fd for fd, _ in watched.poll(left * 1000)}
            for fd in now:
                watched.unregister(fd)
            dead += [inmate for fd, inmate in self._pidfds.items() if fd in now]
        return dead[:number]
