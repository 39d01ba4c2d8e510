"""The driver of a process: finds out what happens to it, and does what `lifecycle` says to that."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING
from typing import Final
from typing import assert_never
from typing import final

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.linux import waits
from pytest_isolate.sandbox.supervise.clock import Clock
from pytest_isolate.sandbox.supervise.clock import Deadline
from pytest_isolate.sandbox.supervise.lifecycle import Effect
from pytest_isolate.sandbox.supervise.lifecycle import Lifecycle
from pytest_isolate.sandbox.supervise.lifecycle import MemorySeen
from pytest_isolate.sandbox.supervise.lifecycle import Overdue
from pytest_isolate.sandbox.supervise.lifecycle import Sign
from pytest_isolate.sandbox.supervise.lifecycle import Stage
from pytest_isolate.sandbox.supervise.memory_poll import Watcher
from pytest_isolate.sandbox.supervise.post_mortem import Answer
from pytest_isolate.sandbox.supervise.post_mortem import PostMortem
from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping

    from pytest_isolate.sandbox.handle import Sandbox
    from pytest_isolate.sandbox.launch.process import Exit
    from pytest_isolate.sandbox.launch.process import Process
    from pytest_isolate.sandbox.supervise.last_words import LastWords
    from pytest_isolate.sandbox.supervise.lifecycle import Happening
    from pytest_isolate.wire.frames import Frame

_LULL_SECONDS: Final = 0.02  #: how long frames are left waiting at first
_NEAR_SECONDS: Final = 0.002  #: between looks at memory that is full, so far of what can go
_DRAIN_SECONDS: Final = 5.0  #: how long frames may still come after the process has ended


@final
class Driver:
    """The descriptors and the clock around a `Lifecycle`: tells it what happens, does what it says.

    All waiting for the process is in `follow`: what it calls acts on what is ready, and says how
    long that may take, as one of several would.
    """

    def __init__(
        self,
        process: Process,
        sandbox: Sandbox,
        *,
        deadline: Deadline,
        on_frame: Callable[[Frame], None],
        on_timeout: Callable[[], None],
        chore: Callable[[], float],
        last_words: LastWords | None,
    ) -> None:
        self._process = process
        self._sandbox = sandbox
        self._deadline = deadline
        self._on_frame = on_frame
        self._on_timeout = on_timeout
        self._chore = chore
        self.life = Lifecycle()
        self.memory = Watcher(sandbox.spec.watched, process.pid, sandbox.init)
        self.post_mortem = PostMortem(process, sandbox, last_words)
        self._notifier = sandbox.notifier
        self._near = False  #: whether the notifier asks to be looked at, though it does not ring
        self._poll = select.poll()

    def follow(self, on_start: Callable[[int], None], *, live: bool) -> Exit:
        """Wait until the process has ended and was heard; return what the kernel says of it.

        *on_start* is told its pid first. Whatever is raised meanwhile ends it.
        """
        reader = self._process.reader
        try:
            on_start(self._process.pid)
            self._poll.register(self._process.pidfd, select.POLLIN)
            if self._notifier is not None:
                self._poll.register(self._notifier.fd, self._notifier.mask)
            if not live:
                # Most tests are over sooner: the pipe keeps what they say, and one waking reads it.
                self._poll.poll(self._deadline.milliseconds(at_most=_LULL_SECONDS))
            self._poll.register(reader.fd, select.POLLIN)
            while self.life.stage is not Stage.ENDED:
                at_most = self._between()
                self._wake(dict(self._poll.poll(self._deadline.milliseconds(at_most=at_most))))
            if self.post_mortem.missed():
                self._feed(Sign.MEMORY_DENIED)
            return self._process.wait()
        except BaseException:
            self._feed(Sign.CANCELLED)
            raise
        finally:
            self._process.close()

    def _between(self) -> float:
        """Do what is due from time to time, and return in how many seconds something is again."""
        seconds = self._chore()
        if self.memory.cap is not None and self.life.may_live:
            seconds = min(seconds, self.memory.look())
        self._near = self._notifier is not None and self._notifier.is_near
        return min(seconds, _NEAR_SECONDS) if self._near else seconds

    def _wake(self, ready: Mapping[int, int]) -> None:
        """Tell what has happened, by the *ready* descriptors and by the clock."""
        self._hear()
        if self._process.pidfd in ready:
            self._feed(Sign.PROCESS_ENDED)
        if (limit := self.memory.exceeded()) is not None:
            self._feed(MemorySeen(limit))
        if self._notifier is not None and (self._near or self._notifier.fd in ready):
            self._feed(Sign.NOTIFIER_RANG)
        reader = self._process.reader
        if reader.eof and reader.fd in ready:
            self._poll.unregister(reader.fd)
        # At every turn, and not only when all is quiet: a flood of frames must not outrun it.
        if self._deadline.is_over():
            self._feed(Overdue(self._deadline.seconds))

    def _feed(self, happening: Happening) -> None:
        for effect in self.life.feed(happening):
            self._do(effect)

    def _do(self, effect: Effect) -> None:  # noqa: C901  # one line an effect
        match effect:
            case Effect.DELIVER:
                pass  # see `_hear`, where the frame is
            case Effect.DRAIN:
                self._drain()
            case Effect.ANSWER:
                self._answer()
            case Effect.MUTE:
                self._mute()
            case Effect.EXAMINE:
                self.post_mortem.at_deadline()
            case Effect.ANNOUNCE:
                self._on_timeout()
            case Effect.KILL:
                self._sandbox.kill()
            case Effect.WAIT_FOR_DEATH:
                self._deadline = Deadline(waits.DYING, Clock())
            case Effect.FAIL:
                raise self._left_behind()
            case Effect.REAP:
                self._process.give_up(waits.DYING)
            case Effect.ABANDON:
                self._process.give_up(0)
            case _:
                assert_never(effect)

    def _hear(self) -> bool:
        """Take in the frames that have come; return whether there were any."""
        frames = self._process.reader.drain()
        for frame in frames:
            if Effect.DELIVER in self.life.feed(frame):
                self._on_frame(frame)
        return bool(frames)

    def _drain(self) -> None:
        # A grandchild may hold the pipe and write on: the end of the process ends its words.
        stop = RealOS.monotonic() + _DRAIN_SECONDS
        while self._hear() and RealOS.monotonic() <= stop:
            pass
        self._feed(Sign.DRAINED)

    def _answer(self) -> None:
        if self._notifier is None:
            return
        # It may give memory back, and a busy machine may have kept this process from it.
        self._chore()
        answer = self.post_mortem.answer(self._notifier)
        match answer:
            case Answer.LISTEN:
                pass
            case Answer.ENOUGH:
                self._feed(Sign.NOTIFIER_SPENT)
            case Answer.DENIED:
                self._feed(Sign.MEMORY_DENIED)
            case _:
                assert_never(answer)

    def _mute(self) -> None:
        if self._notifier is not None:
            self._poll.unregister(self._notifier.fd)
            self._notifier = None

    def _left_behind(self) -> SandboxError:
        left = waits.describe(self._process.inner_pid() or self._process.pid)
        why = f"it did not die within {waits.DYING:g} s ({left}) and is left behind"
        return SandboxError("kill sandbox", why)
