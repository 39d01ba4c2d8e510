"""All sandboxes of one keeper, from the order to the removal.

What follows what is in `lifecycle`; here it is done.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
import os
import signal
import sys
import time
from typing import TYPE_CHECKING
from typing import Final
from typing import assert_never
from typing import final

from pytest_isolate.sandbox import own
from pytest_isolate.sandbox import remedies
from pytest_isolate.sandbox import scratch
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.keeper import init
from pytest_isolate.sandbox.keeper.build_privileged import OwnNamespaces
from pytest_isolate.sandbox.keeper.build_privileged import assemble
from pytest_isolate.sandbox.keeper.lifecycle import Effect
from pytest_isolate.sandbox.keeper.lifecycle import Event
from pytest_isolate.sandbox.keeper.lifecycle import advance
from pytest_isolate.sandbox.keeper.record import Record
from pytest_isolate.sandbox.linux import waits
from pytest_isolate.sandbox.shortfalls import Shortfall
from pytest_isolate.wire.errors import RemoteProtocolError
from pytest_isolate.wire.frames import Born
from pytest_isolate.wire.frames import Failed
from pytest_isolate.wire.frames import Made
from pytest_isolate.wire.frames import Ready
from pytest_isolate.wire.frames import Unready

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    from pytest_isolate.sandbox.cgroups import Cgroups
    from pytest_isolate.sandbox.keeper.build_plan import BuildPlan
    from pytest_isolate.sandbox.keeper.planner import Planner
    from pytest_isolate.sandbox.spec import Spec
    from pytest_isolate.wire.frames import Frame
    from pytest_isolate.wire.frames import KeeperFrame
    from pytest_isolate.wire.loop import Loop

_CHUNK: Final = 65536
_SCRATCH: Final = "/tmp"  # noqa: S108  # as tempfile's default


@final
class Sandboxes:
    """The sandboxes by number; *send* takes what the parent is told of them.

    *leave* is called when the keeper had better be a new one.
    """

    def __init__(
        self,
        *,
        loop: Loop,
        planner: Planner,
        cgroups: Cgroups,
        send: Callable[[KeeperFrame, Sequence[int]], None],
        leave: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._planner = planner
        self._cgroups = cgroups
        self._send = send
        self._leave = leave
        self._records: dict[int, Record] = {}
        self._own: OwnNamespaces | None = None
        self._build_error: SandboxError | None = None
        self._open_own_namespaces()

    def _open_own_namespaces(self) -> None:
        """Be ready to build from outside; where that is refused, every sandbox is, by `_build`."""
        self._build_error = remedies.pretended()
        if self._build_error is not None or not self._planner.machine_root:
            return
        try:
            self._own = OwnNamespaces()
        except OSError as error:
            self._build_error = SandboxError.from_os_error(error)
        else:
            if self._own.is_chroot:
                # The kernel would say so too, but not before there are other errors.
                self._build_error = remedies.in_chroot()

    # --- from outside ---

    def turn(self) -> None:
        """Wait until something is readable, and give up what is not made in time."""
        awaited = [record for record in self._records.values() if record.is_awaited]
        if not awaited:
            self._loop.turn()
            return
        self._loop.turn(min(record.overdue for record in awaited) - time.monotonic())
        for record in awaited:
            if record.is_awaited and record.overdue <= time.monotonic():
                self._give_up(record)

    def prepare(self, number: int, spec: Spec) -> Record:
        """Begin to make a sandbox of *spec*; how that goes is in the record."""
        report, report_end = os.pipe2(os.O_CLOEXEC)
        life_end, lifeline = os.pipe2(os.O_CLOEXEC)
        record = Record(number=number, spec=spec, report=report, lifeline=lifeline)
        self._records[number] = record
        try:
            self._make(record, report_end, life_end)
        except SandboxError as error:
            self._fail(record, error)
        except OSError as error:
            self._fail(record, SandboxError.from_os_error(error))
        finally:
            os.close(report_end)
            os.close(life_end)
        self._loop.watch(report, lambda: self._hear(record))
        return record

    def retire(self, number: int) -> None:
        """Kill everything in a sandbox; the rest is done once that is dead."""
        if number in self._records:
            self._note(self._records[number], Event.RETIRED)

    def destroy_all(self) -> str:
        """Retire all and wait for their end; return what could not be removed, or ""."""
        deadline = time.monotonic() + waits.CLEARING
        for number in list(self._records):
            self.retire(number)
        while self._records and time.monotonic() < deadline:
            self._loop.turn(deadline - time.monotonic())
        left = [line for record in self._records.values() if (line := record.last_words())]
        if not left:
            return ""
        return f"{', '.join(left)}: not dead within {waits.CLEARING:g} s, and left behind"

    # --- what happens ---

    def _note(self, record: Record, event: Event) -> None:
        record.life, effects = advance(record.life, event)
        for effect in effects:
            self._do(record, effect)

    def _fail(self, record: Record, error: SandboxError) -> None:
        record.error = error
        self._note(record, Event.FAILED)

    def _give_up(self, record: Record) -> None:
        """Leave, so that a new keeper looks anew at what may have hung; a trial fails only."""
        error = record.lateness()
        if record.builder:
            os.kill(record.builder, signal.SIGKILL)
        self._fail(record, error)
        if not record.is_trial:
            # At once: the parent reads it when the socket is closed.
            sys.stderr.write(f"{error}\n")
            sys.stderr.flush()
            self._leave()

    def _hear(self, record: Record) -> None:
        data = os.read(record.report, _CHUNK)
        if not data:
            self._drop(record.report)
            self._note(record, Event.SILENT)
            return
        try:
            for frame in record.heard.feed(data):
                self._take(record, frame)
        except RemoteProtocolError as error:
            self._fail(record, SandboxError("make sandbox", f"its builder said: {error}"))

    def _take(self, record: Record, frame: Frame) -> None:
        match frame:
            case Born(pid=pid):
                self._be_born(record, pid, os.pidfd_open(pid))
            case Made(shortfalls=shortfalls, layers=layers):
                record.shortfalls += map(Shortfall.from_json, shortfalls)
                record.inits_layers = layers
                self._note(record, Event.MADE)
            case Failed(error=error):
                self._fail(record, SandboxError.from_json(error))
            case _:
                self._fail(record, SandboxError("make sandbox", f"its builder said {frame}"))

    def _be_born(self, record: Record, pid: int, pidfd: int) -> None:
        record.init, record.pidfd = pid, pidfd
        self._loop.watch(pidfd, lambda: self._note(record, Event.DIED))
        self._note(record, Event.BORN)

    # --- what is done ---

    def _make(self, record: Record, report: int, life: int) -> None:
        spec = record.spec
        plan = None if spec.partial else self._planner.plan(spec)
        if plan is not None and spec.own:
            record.scratch = own.make(spec.own)
            plan = replace(plan, store=record.scratch)
        if spec.limits:
            record.group = self._cgroups.create(str(record.number), spec.limits)
            if spec.limits.memory is not None:
                record.group.arm(spec.limits.memory)
            if plan is not None:
                plan = replace(plan, groups=self._cgroups.shown(record.group))
        if plan is None:
            self._make_without_namespaces(record, report, life)
        else:
            self._build(record, plan, report, life)

    def _build(self, record: Record, plan: BuildPlan, report: int, life: int) -> None:
        if self._build_error is not None:
            raise self._build_error
        if self._own is None:
            record.builder = os.fork()
            if record.builder == 0:
                init.build(plan, report, life)
            return
        built = assemble(plan, self._own, report, life)
        record.shortfalls = list(built.shortfalls)
        record.layers = built.layers
        self._be_born(record, built.init, built.pidfd)
        os.write(record.lifeline, init.FIND_ROOT if built.covered else init.GO_ON)

    def _make_without_namespaces(self, record: Record, report: int, life: int) -> None:
        """Make a directory, and a process that stands for init."""
        record.scratch = scratch.make(next(iter(record.spec.scratch), _SCRATCH))
        pid = os.fork()
        if pid == 0:
            init.stand_in(report, life)
        self._be_born(record, pid, os.pidfd_open(pid))

    def _do(self, record: Record, effect: Effect) -> None:
        match effect:
            case Effect.REAP_BUILDER:
                builder, record.builder = record.builder, 0
                if builder:
                    waits.reap(builder)
            case Effect.REAP_INIT:
                self._reap_init(record)
            case Effect.HAND_OVER:
                self._hand_over(record)
            case Effect.REFUSE:
                self._refuse(record)
            case Effect.KILL:
                record.cut_lifeline()
                if record.pidfd >= 0:
                    signal.pidfd_send_signal(record.pidfd, signal.SIGKILL)
            case Effect.REMOVE:
                self._remove(record)
            case _:
                assert_never(effect)

    def _reap_init(self, record: Record) -> None:
        self._drop(record.pidfd)
        record.pidfd = -1
        with suppress(ChildProcessError):  # of a builder that does not die
            os.waitpid(record.init, 0)
        record.cut_lifeline()

    def _hand_over(self, record: Record) -> None:
        if record.is_trial:
            return
        try:
            record.take_layers()
        except OSError as error:
            self._fail(record, SandboxError.from_os_error(error))
            return
        named = [*record.attached().named(), *record.layers.items()]
        self._send(
            Ready(
                record.number,
                [name for name, _ in named],
                [one.to_json() for one in record.shortfalls],
                record.scratch,
                self._describe_layers(record),
            ),
            [fd for _, fd in named],
        )
        record.close_layers()
        if record.group:
            record.group.close_fds()
        self._note(record, Event.HANDED_OVER)

    def _describe_layers(self, record: Record) -> dict[str, object]:
        if not record.spec.surveyed:
            return {}
        plan = self._planner.plan(record.spec)
        return {"overlaid": plan.overlaid, "planned": plan.planned, "copied": plan.copied}

    def _refuse(self, record: Record) -> None:
        if record.error is None:
            record.error = SandboxError("make sandbox", "its builder died without a word")
        if not record.is_trial:
            self._send(Unready(record.number, record.error.to_json()), ())

    def _remove(self, record: Record) -> None:
        record.close_layers()
        if record.group:
            record.group.close_fds()
            record.group.kill()
            record.group.remove()
            record.group = None
        if record.scratch and record.spec.own:
            own.give_back(record.scratch, record.spec.own)
        elif record.scratch:
            scratch.remove(record.scratch)
        self._records.pop(record.number, None)

    def _drop(self, fd: int) -> None:
        self._loop.forget(fd)
        os.close(fd)
