"""One process in one sandbox, from its fork to the verdict on its end."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.launch.process import Exit
from pytest_isolate.sandbox.launch.process import spawn
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.outcome import Outcome
from pytest_isolate.sandbox.outcome import OutOfMemory
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import Signaled
from pytest_isolate.sandbox.outcome import Usage
from pytest_isolate.sandbox.outcome import classify
from pytest_isolate.sandbox.outcome import within
from pytest_isolate.sandbox.supervise.clock import Clock
from pytest_isolate.sandbox.supervise.clock import Deadline
from pytest_isolate.sandbox.supervise.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_isolate.sandbox.handle import Sandbox
    from pytest_isolate.sandbox.launch.entry import Entry
    from pytest_isolate.sandbox.outcome import Evidence
    from pytest_isolate.sandbox.supervise.last_words import LastWords
    from pytest_isolate.sandbox.supervise.snapshot import Snapshot
    from pytest_isolate.wire.channel import Writer
    from pytest_isolate.wire.frames import Frame


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
    try:
        process = spawn(sandbox, entry, main)
    except SandboxError as error:
        return _not_started(sandbox, error, wall_seconds=clock.now() - started)
    driver = Driver(
        process,
        sandbox,
        deadline=Deadline(timeout, clock),
        on_frame=on_frame,
        on_timeout=on_timeout,
        chore=chore,
        last_words=last_words,
    )
    last = driver.follow(on_start, live=live)
    garbage = process.reader.garbage
    return _judge(sandbox, driver, last, garbage, wall_seconds=clock.now() - started)


def _not_started(sandbox: Sandbox, error: SandboxError, *, wall_seconds: float) -> End:
    usage = _usage(sandbox, sandbox.evidence(), Exit(), None, wall_seconds=wall_seconds)
    outcome = _unless_keeper_died(sandbox, SetupFailed(error))
    return End(outcome=outcome, usage=usage, said_bye=False, garbage="", snapshot=None)


def _judge(
    sandbox: Sandbox, driver: Driver, last: Exit, garbage: str, *, wall_seconds: float
) -> End:
    evidence, life = sandbox.evidence(), driver.life
    outcome = classify(
        last.status,
        evidence,
        memory_cap=sandbox.spec.limits.memory,
        ended_for=life.ended_for,
        setup_error=life.refused,
    )
    if not life.said_bye and isinstance(outcome, Exited | Signaled | SetupFailed):
        outcome = _unless_keeper_died(sandbox, outcome)
    if not (life.said_bye and isinstance(outcome, Exited)):
        driver.post_mortem.afterwards(out_of_memory=isinstance(outcome, OutOfMemory))
    return End(
        outcome=outcome,
        usage=_usage(sandbox, evidence, last, driver.memory.peak, wall_seconds=wall_seconds),
        said_bye=life.said_bye,
        garbage=garbage,
        snapshot=driver.post_mortem.snapshot,
    )


def _unless_keeper_died(sandbox: Sandbox, outcome: Outcome) -> Outcome:
    """Return *outcome*, or that the keeper has died: how far the process came then is chance."""
    broken = sandbox.keeping.broken()
    return outcome if broken is None else SetupFailed(SandboxError("keep sandbox", str(broken)))


def _usage(
    sandbox: Sandbox, evidence: Evidence, last: Exit, watched: int | None, *, wall_seconds: float
) -> Usage:
    """Return what was used; the memory as the kernel has counted it, else as it was *watched*."""
    peak = watched if evidence.memory_peak is None else evidence.memory_peak
    return Usage(
        wall_seconds=wall_seconds,
        cpu_seconds=last.cpu_seconds if evidence.cpu_seconds is None else evidence.cpu_seconds,
        memory_peak=within(sandbox.spec.limits.memory, peak),
        memory_cap=sandbox.spec.memory_cap,
        processes=evidence.pids_peak,
    )
