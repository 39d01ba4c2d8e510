"""The process that owns the sandboxes: `python -I -S`, started once by the parent.

It makes sandboxes ahead of time and hands their descriptors over, so that neither making nor
removing one is on a test's critical path, and it outlives a crash of the parent: when the socket
or the parent's pidfd says that the parent is gone, everything is destroyed.

One loop over descriptors, nothing in it blocks for long: a sandbox's report pipe tells how far it
has come, its init's pidfd that it is dead.
"""

from __future__ import annotations

from contextlib import nullcontext
from contextlib import suppress
from dataclasses import replace
import json
import os
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox import own
from pytest_isolate.sandbox import remedies
from pytest_isolate.sandbox import scratch
from pytest_isolate.sandbox.cgroups import open_cgroups
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.features import Part
from pytest_isolate.sandbox.keeper import init
from pytest_isolate.sandbox.keeper import probe
from pytest_isolate.sandbox.keeper.build_privileged import OwnNamespaces
from pytest_isolate.sandbox.keeper.build_privileged import assemble
from pytest_isolate.sandbox.keeper.planner import Planner
from pytest_isolate.sandbox.keeper.record import Record
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.linux import waits
from pytest_isolate.sandbox.shortfalls import Shortfall
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.wire.channel import Socket
from pytest_isolate.wire.errors import PeerGone
from pytest_isolate.wire.frames import Hello
from pytest_isolate.wire.frames import Prepare
from pytest_isolate.wire.frames import Ready
from pytest_isolate.wire.frames import Retire
from pytest_isolate.wire.frames import Unready
from pytest_isolate.wire.loop import Loop

if TYPE_CHECKING:
    from pytest_isolate.sandbox.keeper.build_plan import BuildPlan

_CHUNK: Final = 65536
_STDERR: Final = 2
_SCRATCH: Final = "/tmp"  # noqa: S108  # as tempfile's default


@final
class Keeper:
    """All sandboxes of one parent."""

    def __init__(self, channel: Socket, parent: int, head: int) -> None:
        self._socket = channel
        self._parent_fd = os.pidfd_open(parent)
        self._cgroups = open_cgroups(head)
        self._planner = Planner.survey()
        self._own: OwnNamespaces | None = None
        self._build_error: SandboxError | None = None
        self._open_own_namespaces()
        self._records: dict[int, Record] = {}
        self._loop = Loop()
        self._loop.watch(channel.fileno(), self._hear_parent)
        self._loop.watch(self._parent_fd, self._leave)
        self._open = True

    def run(self) -> str:
        """Serve the parent until it is gone, then remove everything; return what could not be."""
        try:
            self._say_hello()
            while self._open:
                # Before every wait: a `send` may have taken frames in while it waited for room.
                self._hear_parent()
                self._turn()
        except PeerGone:
            pass
        finally:
            self._open = False
            left = ""
            try:
                left = self._destroy_all()
            finally:
                with suppress(SandboxError) if left else nullcontext():
                    self._cgroups.close()
        return left

    def _turn(self) -> None:
        """Wait until something is readable, and give up what is not made in time."""
        making = [record for record in self._records.values() if record.is_being_made]
        if not making:
            self._loop.turn()
            return
        self._loop.turn(min(record.overdue for record in making) - time.monotonic())
        for record in making:
            if record.is_being_made and record.overdue <= time.monotonic():
                self._give_up(record)

    def _give_up(self, record: Record) -> None:
        """Leave, so that a new keeper looks anew at what may have hung; a trial fails only."""
        record.error = record.lateness()
        if record.builder:
            os.kill(record.builder, signal.SIGKILL)
        if record.number > 0:
            # At once: the parent reads it when the socket is closed.
            sys.stderr.write(f"{record.error}\n")
            sys.stderr.flush()
            self._leave()

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

    def _drop(self, fd: int) -> None:
        self._loop.forget(fd)
        os.close(fd)

    # --- the parent ---

    def _say_hello(self) -> None:
        """Try the whole path on a sandbox of the default kind, then say what this machine gives."""
        trial = self._try(0, Spec())
        if trial.error is not None and trial.error.part is Part.HOSTNAME:
            trial = replace(self._try(-1, Spec(hostname=None)), hostname=trial.error)
        capabilities = probe.capabilities(trial, self._planner, self._cgroups.capabilities)
        self._socket.send(Hello(capabilities.to_json()))

    def _try(self, number: int, spec: Spec) -> probe.Trial:
        record = self._prepare(number, spec)
        while not (record.ready or record.error) and self._open:
            self._turn()
        if record.error is None:
            record.error = probe.try_entry(record.pidfd, spec)
        self._retire(record)
        return probe.Trial(error=record.error, shortfalls=tuple(record.shortfalls))

    def _hear_parent(self) -> None:
        for frame, _ in self._socket.poll():
            match frame:
                case Prepare(sandbox=number, spec=spec):
                    self._prepare(number, Spec.from_json(spec))
                case Retire(sandbox=number):
                    if number in self._records:
                        self._retire(self._records[number])
                case _:
                    self._leave()
        if self._socket.eof:
            self._leave()

    def _leave(self) -> None:
        self._open = False

    # --- a sandbox's life ---

    def _prepare(self, number: int, spec: Spec) -> Record:
        report, report_end = os.pipe2(os.O_CLOEXEC)
        life_end, life = os.pipe2(os.O_CLOEXEC)
        record = Record(number, spec, builder=0, report=report, life=life, group=None)
        self._records[number] = record
        try:
            plan = None if spec.partial else self._planner.plan(spec)
            if plan is not None and spec.own:
                record.scratch = own.make(spec.own)
                plan = replace(plan, store=record.scratch)
            if spec.limits:
                record.group = self._cgroups.create(str(number), spec.limits)
                if spec.limits.memory is not None:
                    record.group.arm(spec.limits.memory)
                if plan is not None:
                    plan = replace(plan, groups=self._cgroups.shown(record.group))
            if plan is None:
                self._stand_in(record, report_end, life_end)
            else:
                self._build(record, plan, report_end, life_end)
        except SandboxError as error:
            record.error = error
        except OSError as error:
            record.error = SandboxError.from_os_error(error)
        finally:
            os.close(report_end)
            os.close(life_end)
        self._loop.watch(report, lambda: self._hear_builder(record))
        return record

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
        self._on_born(record, built.init, built.pidfd)
        os.write(record.life, init.FIND_ROOT if built.covered else init.GO_ON)

    def _stand_in(self, record: Record, report: int, life: int) -> None:
        """Make a sandbox without namespaces: a directory, and a process that stands for init."""
        record.scratch = scratch.make(next(iter(record.spec.scratch), _SCRATCH))
        pid = os.fork()
        if pid == 0:
            init.stand_in(report, life)
        self._on_born(record, pid, os.pidfd_open(pid))

    def _on_born(self, record: Record, pid: int, pidfd: int) -> None:
        record.init, record.pidfd = pid, pidfd
        self._loop.watch(pidfd, lambda: self._on_dead(record))

    def _hear_builder(self, record: Record) -> None:
        data = os.read(record.report, _CHUNK)
        if not data:
            self._drop(record.report)
            record.report = -1
            self._reap_builder(record)
            if record.handed_over or record.dying:
                self._remove_if_dead(record)
            elif not record.ready:
                self._refuse(record)
            return
        *lines, record.buffer = (record.buffer + data).split(b"\n")
        for line in lines:
            self._advance(record, json.loads(line))

    def _advance(self, record: Record, word: dict[str, object]) -> None:
        match word:
            case {"stage": init.Stage.BORN, "pid": int(pid)}:
                self._on_born(record, pid, os.pidfd_open(pid))
            case {"stage": init.Stage.READY, "shortfalls": list(less), "layers": dict(layers)}:
                record.shortfalls += map(Shortfall.from_json, less)
                record.inits_layers = layers
                record.said_ready = True
            case {"stage": init.Stage.FAILED, "error": dict(error)}:
                record.error = SandboxError.from_json(error)
                return
            case _:
                record.error = SandboxError("make sandbox", f"its builder said {word}")
                return
        if record.ready:
            self._hand_over(record)

    def _hand_over(self, record: Record) -> None:
        if record.number <= 0 or not self._open:
            return
        try:
            record.take_layers()
        except OSError as error:
            record.error = SandboxError.from_os_error(error)
            self._refuse(record)
            return
        joins = record.group.join_fds if record.group else ()
        counters = record.group.counter_fds if record.group else {}
        alarm = record.group.alarm_fds if record.group else {}
        names = ["init", *["join"] * len(joins), *counters, *alarm, *record.layers]
        self._socket.send(
            Ready(
                record.number,
                names,
                [one.to_json() for one in record.shortfalls],
                record.scratch,
                self._describe_layers(record),
            ),
            (record.pidfd, *joins, *counters.values(), *alarm.values(), *record.layers.values()),
        )
        record.handed_over = True
        record.close_layers()
        if record.group:
            record.group.close_fds()

    def _describe_layers(self, record: Record) -> dict[str, object]:
        if not record.spec.surveyed:
            return {}
        plan = self._planner.plan(record.spec)
        return {"overlaid": plan.overlaid, "planned": plan.planned, "copied": plan.copied}

    def _refuse(self, record: Record) -> None:
        if record.error is None:
            record.error = SandboxError("make sandbox", "its builder died without a word")
        if record.number > 0 and self._open:
            self._socket.send(Unready(record.number, record.error.to_json()))
        self._retire(record)

    def _retire(self, record: Record) -> None:
        """Kill everything inside through PID 1; `_on_dead` does the rest once that is dead."""
        record.dying = True
        self._close_life(record)
        if record.pidfd >= 0:
            signal.pidfd_send_signal(record.pidfd, signal.SIGKILL)
        else:
            self._remove_if_dead(record)

    def _on_dead(self, record: Record) -> None:
        self._drop(record.pidfd)
        record.pidfd = -1
        self._reap_builder(record)  # until it has left, init is its child
        with suppress(ChildProcessError):  # of a builder that does not die
            os.waitpid(record.init, 0)
        self._close_life(record)
        if record.dying or not record.handed_over:
            self._remove(record)

    def _remove_if_dead(self, record: Record) -> None:
        if record.dying and record.pidfd < 0 and record.report < 0:
            self._remove(record)

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

    def _close_life(self, record: Record) -> None:
        if record.life >= 0:
            os.close(record.life)
            record.life = -1

    def _reap_builder(self, record: Record) -> None:
        builder, record.builder = record.builder, 0
        if builder:
            waits.reap(builder)

    def _destroy_all(self) -> str:
        deadline = time.monotonic() + waits.CLEARING
        self._drop(self._parent_fd)
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        for record in list(self._records.values()):
            self._retire(record)
        while self._records and time.monotonic() < deadline:
            self._loop.turn(deadline - time.monotonic())
        left = [line for record in self._records.values() if (line := record.last_words())]
        if not left:
            return ""
        return f"{', '.join(left)}: not dead within {waits.CLEARING:g} s, and left behind"


def _keep_only(socket_fd: int) -> None:
    """Close what the parent hands to every program: a pipe of its command ends without it.

    By the list, for a descriptor may lie above the limit that is reported.
    """
    with suppress(OSError):
        for fd in map(int, os.listdir("/proc/self/fd")):
            if fd > _STDERR and fd != socket_fd:
                with suppress(OSError):  # the descriptor of the listing
                    os.close(fd)


def main(socket_fd: int, parent: int, head: int) -> None:
    """Be the keeper of *parent*, which holds the other end of *socket_fd*.

    *head* is the process at the head of its run: *parent* itself, or the one that started it.
    """
    _keep_only(socket_fd)
    try:
        # Orphans of builders become the keeper's children, and so does init.
        libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
        os.chdir("/")
        keeper = Keeper(Socket(socket.socket(fileno=socket_fd)), parent, head)
    except OSError as error:
        known = SandboxError.from_os_error(error)
        known.fix = remedies.for_namespaces(known.code, remedies.Signs.read())
        sys.exit(str(known))  # the parent quotes the last line of what is said
    if left := keeper.run():
        sys.exit(left)
