"""One process in one sandbox, from its first word to the verdict on its end."""

from __future__ import annotations

from dataclasses import dataclass
import math
import select
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.launch.process import Exit
from pytest_isolate.sandbox.launch.process import Process
from pytest_isolate.sandbox.launch.process import spawn
from pytest_isolate.sandbox.linux import waits
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.outcome import KernelDenied
from pytest_isolate.sandbox.outcome import Outcome
from pytest_isolate.sandbox.outcome import OutOfMemory
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import Signaled
from pytest_isolate.sandbox.outcome import TimeLimit
from pytest_isolate.sandbox.outcome import Usage
from pytest_isolate.sandbox.outcome import classify
from pytest_isolate.sandbox.outcome import within
from pytest_isolate.sandbox.supervise.clock import Clock
from pytest_isolate.sandbox.supervise.clock import Deadline
from pytest_isolate.sandbox.supervise.memory_poll import Watcher
from pytest_isolate.sandbox.supervise.post_mortem import Answer
from pytest_isolate.sandbox.supervise.post_mortem import PostMortem
from pytest_isolate.wire.frames import Bye
from pytest_isolate.wire.frames import Frame
from pytest_isolate.wire.frames import Refused
from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_isolate.sandbox.cgroups.oom_notifier import Alarm
    from pytest_isolate.sandbox.handle import Sandbox
    from pytest_isolate.sandbox.launch.entry import Entry
    from pytest_isolate.sandbox.outcome import EndedFor
    from pytest_isolate.sandbox.outcome import MemoryLimit
    from pytest_isolate.sandbox.supervise.last_words import LastWords
    from pytest_isolate.sandbox.supervise.snapshot import Snapshot
    from pytest_isolate.wire.channel import Reader
    from pytest_isolate.wire.channel import Writer

_LULL_SECONDS: Final = 0.02  #: how long frames are left waiting at first
_NEAR_SECONDS: Final = 0.002  #: between looks at memory that is full, so far of what can go
_DRAIN_SECONDS: Final = 5.0  #: how long frames may still come after the process has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a process ended, and whether it had said everything."""

    outcome: Outcome
    usage: Usage
    said_bye: bool
    garbage: str  #: "", or how it broke the wire protocol
    snapshot: Snapshot | None  #: what was in the sandbox when it died, if it did


def run(
    sandbox: Sandbox,
    entry: Entry,
    main: Callable[[Writer], None],
    *,
    timeout: float | None = None,
    clock: Clock | None = None,
    on_frame: Callable[[Frame], None] = lambda _: None,
    on_start: Callable[[int], None] = lambda _: None,
    on_timeout: Callable[[], None] = lambda: None,
    chore: Callable[[], float] = lambda: math.inf,
    live: bool = False,
    last_words: LastWords | None = None,
) -> End:
    """Run *main* in a fork of this process, inside *sandbox*.

    *on_start* is told the pid, *on_frame* every frame: at once if it is *live*, else soon. *chore*
    is done now and then, and returns in how many seconds again at the latest. After *timeout*
    seconds of *clock*, for more memory than the cap that is watched, or if a callback raises,
    everything in the sandbox is killed. Before that, and before the kernel kills for memory, the
    process is asked for its *last_words*; after a timeout *on_timeout* is called before the kill.
    """
    clock = clock or Clock()
    started = clock.now()
    watch = _Watch(on_frame)
    last = Exit()
    post_mortem: PostMortem | None = None
    try:
        process = spawn(sandbox, entry, main)
    except SandboxError as error:
        watch.refused = error
    else:
        try:
            on_start(process.pid)
            watch.memory = Watcher(sandbox.spec.watched, process.pid, sandbox.init)
            post_mortem = PostMortem(process, sandbox, last_words)
            _follow(
                process,
                sandbox,
                watch,
                post_mortem,
                deadline=Deadline(timeout, clock),
                chore=chore,
                live=live,
                on_timeout=on_timeout,
            )
            last = process.wait()
        except BaseException:
            sandbox.kill()
            process.give_up(0 if watch.is_over else waits.DYING)
            raise
        finally:
            process.close()
        watch.garbage = process.reader.garbage
    wall_seconds = clock.now() - started
    return _judge(sandbox, watch, post_mortem, last, wall_seconds=wall_seconds)


class _Watch:
    """What has been heard from the process so far."""

    def __init__(self, on_frame: Callable[[Frame], None]) -> None:
        self._on_frame = on_frame
        self.refused: SandboxError | None = None
        self.said_bye = False
        self.garbage = ""
        self.is_over = False  #: it is to be killed: what is said after that does not count
        self.memory: Watcher | None = None
        self.exceeded: MemoryLimit | None = None
        self.ended_for: EndedFor | None = None

    def look(self) -> float:
        """Look at the memory if it is time, and return in how many seconds it will be again."""
        if self.memory is None or self.is_over:
            return math.inf
        again = self.memory.look()
        self.exceeded = self.memory.exceeded()
        return again

    def hear(self, frame: Frame) -> None:
        if self.is_over:
            return
        match frame:
            case Refused(error=error):
                self.refused = SandboxError.from_json(error)
            case Bye():
                self.said_bye = True
            case _:
                self._on_frame(frame)


def _follow(
    process: Process,
    sandbox: Sandbox,
    watch: _Watch,
    post_mortem: PostMortem,
    *,
    deadline: Deadline,
    chore: Callable[[], float],
    live: bool,
    on_timeout: Callable[[], None],
) -> None:
    """Read frames until the process has ended, by itself or for a limit."""
    reader, alarm = process.reader, sandbox.alarm
    poll = select.poll()
    poll.register(process.pidfd, select.POLLIN)
    if alarm is not None:
        poll.register(alarm.fd, alarm.mask)
    if not live:
        # Most tests are over sooner: the pipe keeps what they say, and one waking reads it all.
        poll.poll(deadline.milliseconds(at_most=_LULL_SECONDS))
    poll.register(reader.fd, select.POLLIN)
    while True:
        near = alarm is not None and alarm.is_near
        at_most = min(chore(), watch.look(), _NEAR_SECONDS if near else math.inf)
        ready = dict(poll.poll(deadline.milliseconds(at_most=at_most)))
        ended = process.pidfd in ready
        _drain(reader, watch, until_empty=ended)
        if ended:
            watch.ended_for = watch.ended_for or watch.exceeded
            return
        rings = near or (alarm is not None and alarm.fd in ready)
        if alarm is not None and rings and not _answer(alarm, post_mortem, watch, chore):
            poll.unregister(alarm.fd)
            alarm = None
        if reader.eof and reader.fd in ready:
            poll.unregister(reader.fd)
        # At every turn, and not only when all is quiet: a flood of frames must not outrun it.
        if deadline.is_over() or (watch.exceeded and not watch.is_over):
            if deadline.expired:
                left = waits.describe(process.inner_pid() or process.pid)
                why = f"it did not die within {waits.DYING:g} s ({left}) and is left behind"
                raise SandboxError("kill sandbox", why)
            # The signal may wake a process that waits for one, and it would go on.
            watch.is_over = True
            watch.ended_for = watch.ended_for or watch.exceeded or TimeLimit(deadline.seconds)
            post_mortem.at_deadline()
            if not watch.exceeded:
                on_timeout()
            sandbox.kill()
            deadline = Deadline(waits.DYING, Clock(), expired=True)


def _answer(
    alarm: Alarm, post_mortem: PostMortem, watch: _Watch, chore: Callable[[], float]
) -> bool:
    """Have *post_mortem* answer *alarm*, and return whether to go on so."""
    chore()  # it may give memory back, and a busy machine may have kept this process from it
    answer = post_mortem.answer(alarm)
    if answer is Answer.DENIED:
        watch.ended_for = KernelDenied()
    return answer is Answer.LISTEN


def _drain(reader: Reader, watch: _Watch, *, until_empty: bool) -> None:
    # A grandchild may hold the pipe and write on: the end of the process is the end of its words.
    stop = RealOS.monotonic() + _DRAIN_SECONDS
    while frames := reader.drain():
        for frame in frames:
            watch.hear(frame)
        if not until_empty or RealOS.monotonic() > stop:
            return


def _judge(
    sandbox: Sandbox,
    watch: _Watch,
    post_mortem: PostMortem | None,
    last: Exit,
    *,
    wall_seconds: float,
) -> End:
    evidence = sandbox.evidence()
    if post_mortem is not None and post_mortem.missed():
        watch.ended_for = KernelDenied()
    outcome = classify(
        last.status,
        evidence,
        memory_cap=sandbox.spec.limits.memory,
        ended_for=watch.ended_for,
        setup_error=watch.refused,
    )
    # What the process saw of the keeper's death depends on how far it had come.
    cut_short = not watch.said_bye and isinstance(outcome, Exited | Signaled | SetupFailed)
    if cut_short and (broken := sandbox.keeping.broken()) is not None:
        outcome = SetupFailed(SandboxError("keep sandbox", str(broken)))
    if post_mortem is not None and not (watch.said_bye and isinstance(outcome, Exited)):
        post_mortem.afterwards(out_of_memory=isinstance(outcome, OutOfMemory))
    cpu = last.cpu_seconds if evidence.cpu_seconds is None else evidence.cpu_seconds
    watched = watch.memory.peak if watch.memory else None
    peak = watched if evidence.memory_peak is None else evidence.memory_peak
    usage = Usage(
        wall_seconds=wall_seconds,
        cpu_seconds=cpu,
        memory_peak=within(sandbox.spec.limits.memory, peak),
        processes=evidence.pids_peak,
    )
    return End(
        outcome=outcome,
        usage=usage,
        said_bye=watch.said_bye,
        garbage=watch.garbage,
        snapshot=None if post_mortem is None else post_mortem.snapshot,
    )
