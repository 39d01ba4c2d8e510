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
from pytest_isolate.sandbox.keeper import init
from pytest_isolate.sandbox.keeper import probe
from pytest_isolate.sandbox.keeper.build_privileged import Home
from pytest_isolate.sandbox.keeper.build_privileged import assemble
from pytest_isolate.sandbox.keeper.planner import Planner
from pytest_isolate.sandbox.keeper.record import Cell
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.linux import patience
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
    from pytest_isolate.sandbox.keeper.build_plan import Order

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
        self._home: Home | None = None
        self._homeless: SandboxError | None = None
        self._find_home()
        self._cells: dict[int, Cell] = {}
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
        making = [cell for cell in self._cells.values() if cell.is_being_made]
        if not making:
            self._loop.turn()
            return
        self._loop.turn(min(cell.overdue for cell in making) - time.monotonic())
        for cell in making:
            if cell.is_being_made and cell.overdue <= time.monotonic():
                self._give_up(cell)

    def _give_up(self, cell: Cell) -> None:
        """Leave, so that a new keeper looks anew at what may have hung; a trial fails only."""
        cell.error = cell.lateness()
        if cell.builder:
            os.kill(cell.builder, signal.SIGKILL)
        if cell.number > 0:
            # At once: the parent reads it when the socket is closed.
            sys.stderr.write(f"{cell.error}\n")
            sys.stderr.flush()
            self._leave()

    def _find_home(self) -> None:
        """Be ready to build from outside; where that is refused, every sandbox is, by `_build`."""
        self._homeless = remedies.pretended()
        if self._homeless is not None or not self._planner.machine_root:
            return
        try:
            self._home = Home()
        except OSError as error:
            self._homeless = SandboxError.from_os_error(error)
        else:
            if self._home.is_chroot:
                # The kernel would say so too, but not before there are other errors.
                self._homeless = remedies.in_chroot()

    def _drop(self, fd: int) -> None:
        self._loop.forget(fd)
        os.close(fd)

    # --- the parent ---

    def _say_hello(self) -> None:
        """Try the whole path on a sandbox of the default kind, then say what this machine gives."""
        trial = self._try(0, Spec())
        if trial.error is not None and trial.error.what.startswith("sethostname"):
            without = self._try(-1, Spec(hostname=None))
            trial = probe.Trial(error=without.error, hostname=trial.error, notes=without.notes)
        capabilities = probe.capabilities(trial, self._planner, self._cgroups.capabilities)
        self._socket.send(Hello(capabilities.to_json()))

    def _try(self, number: int, spec: Spec) -> probe.Trial:
        cell = self._prepare(number, spec)
        while not (cell.ready or cell.error) and self._open:
            self._turn()
        if cell.error is None:
            cell.error = probe.try_entry(cell.pidfd, spec)
        self._retire(cell)
        return probe.Trial(error=cell.error, notes=tuple(cell.notes))

    def _hear_parent(self) -> None:
        for frame, _ in self._socket.poll():
            match frame:
                case Prepare(sandbox=number, spec=spec):
                    self._prepare(number, Spec.from_json(spec))
                case Retire(sandbox=number):
                    if number in self._cells:
                        self._retire(self._cells[number])
                case _:
                    self._leave()
        if self._socket.eof:
            self._leave()

    def _leave(self) -> None:
        self._open = False

    # --- a sandbox's life ---

    def _prepare(self, number: int, spec: Spec) -> Cell:
        report, report_end = os.pipe2(os.O_CLOEXEC)
        life_end, life = os.pipe2(os.O_CLOEXEC)
        cell = Cell(number, spec, builder=0, report=report, life=life, group=None)
        self._cells[number] = cell
        try:
            order = None if spec.partial else self._planner.order(spec)
            if order is not None and spec.own:
                cell.scratch = own.make(spec.own)
                order = replace(order, store=cell.scratch)
            if spec.limits:
                cell.group = self._cgroups.create(str(number), spec.limits)
                if spec.limits.memory is not None:
                    cell.group.arm(spec.limits.memory)
                if order is not None:
                    order = replace(order, groups=self._cgroups.shown(cell.group))
            if order is None:
                self._stand_in(cell, report_end, life_end)
            else:
                self._build(cell, order, report_end, life_end)
        except SandboxError as error:
            cell.error = error
        except OSError as error:
            cell.error = SandboxError.from_os_error(error)
        finally:
            os.close(report_end)
            os.close(life_end)
        self._loop.watch(report, lambda: self._hear_cell(cell))
        return cell

    def _build(self, cell: Cell, order: Order, report: int, life: int) -> None:
        if self._homeless is not None:
            raise self._homeless
        if self._home is None:
            cell.builder = os.fork()
            if cell.builder == 0:
                init.build(order, report, life)
            return
        built = assemble(order, self._home, report, life)
        cell.notes = list(built.notes)
        cell.layers = built.layers
        self._welcome(cell, built.init, built.pidfd)
        os.write(cell.life, init.FIND_ROOT if built.covered else init.GO_ON)

    def _stand_in(self, cell: Cell, report: int, life: int) -> None:
        """Make a sandbox without namespaces: a directory, and a process that stands for init."""
        cell.scratch = scratch.make(next(iter(cell.spec.scratch), _SCRATCH))
        pid = os.fork()
        if pid == 0:
            init.stand_in(report, life)
        self._welcome(cell, pid, os.pidfd_open(pid))

    def _welcome(self, cell: Cell, pid: int, pidfd: int) -> None:
        cell.init, cell.pidfd = pid, pidfd
        self._loop.watch(pidfd, lambda: self._bury(cell))

    def _hear_cell(self, cell: Cell) -> None:
        data = os.read(cell.report, _CHUNK)
        if not data:
            self._drop(cell.report)
            cell.report = -1
            self._reap_builder(cell)
            if cell.handed_over or cell.dying:
                self._forget_if_dead(cell)
            elif not cell.ready:
                self._refuse(cell)
            return
        *lines, cell.buffer = (cell.buffer + data).split(b"\n")
        for line in lines:
            self._advance(cell, json.loads(line))

    def _advance(self, cell: Cell, word: dict[str, object]) -> None:
        match word:
            case {"stage": init.Stage.BORN, "pid": int(pid)}:
                self._welcome(cell, pid, os.pidfd_open(pid))
            case {"stage": init.Stage.READY, "notes": list(notes), "layers": dict(layers)}:
                cell.notes += notes
                cell.inits_layers = layers
                cell.said_ready = True
            case {"stage": init.Stage.FAILED, "error": dict(error)}:
                cell.error = SandboxError.from_json(error)
                return
            case _:
                cell.error = SandboxError("make sandbox", f"its builder said {word}")
                return
        if cell.ready:
            self._hand_over(cell)

    def _hand_over(self, cell: Cell) -> None:
        if cell.number <= 0 or not self._open:
            return
        try:
            cell.take_layers()
        except OSError as error:
            cell.error = SandboxError.from_os_error(error)
            self._refuse(cell)
            return
        joins = cell.group.join_fds if cell.group else ()
        counters = cell.group.counter_fds if cell.group else {}
        alarm = cell.group.alarm_fds if cell.group else {}
        names = ["init", *["join"] * len(joins), *counters, *alarm, *cell.layers]
        self._socket.send(
            Ready(cell.number, names, cell.notes, cell.scratch, self._describe_layers(cell)),
            (cell.pidfd, *joins, *counters.values(), *alarm.values(), *cell.layers.values()),
        )
        cell.handed_over = True
        cell.close_layers()
        if cell.group:
            cell.group.close_fds()

    def _describe_layers(self, cell: Cell) -> dict[str, object]:
        if not cell.spec.surveyed:
            return {}
        order = self._planner.order(cell.spec)
        return {"overlaid": order.overlaid, "planned": order.planned, "copied": order.copied}

    def _refuse(self, cell: Cell) -> None:
        if cell.error is None:
            cell.error = SandboxError("make sandbox", "its builder died without a word")
        if cell.number > 0 and self._open:
            self._socket.send(Unready(cell.number, cell.error.to_json()))
        self._retire(cell)

    def _retire(self, cell: Cell) -> None:
        """Kill everything inside through PID 1; `_bury` does the rest once that is dead."""
        cell.dying = True
        self._close_life(cell)
        if cell.pidfd >= 0:
            signal.pidfd_send_signal(cell.pidfd, signal.SIGKILL)
        else:
            self._forget_if_dead(cell)

    def _bury(self, cell: Cell) -> None:
        self._drop(cell.pidfd)
        cell.pidfd = -1
        self._reap_builder(cell)  # until it has left, init is its child
        with suppress(ChildProcessError):  # of a builder that does not die
            os.waitpid(cell.init, 0)
        self._close_life(cell)
        if cell.dying or not cell.handed_over:
            self._forget(cell)

    def _forget_if_dead(self, cell: Cell) -> None:
        if cell.dying and cell.pidfd < 0 and cell.report < 0:
            self._forget(cell)

    def _forget(self, cell: Cell) -> None:
        cell.close_layers()
        if cell.group:
            cell.group.close_fds()
            cell.group.kill()
            cell.group.remove()
            cell.group = None
        if cell.scratch and cell.spec.own:
            own.give_back(cell.scratch, cell.spec.own)
        elif cell.scratch:
            scratch.remove(cell.scratch)
        self._cells.pop(cell.number, None)

    def _close_life(self, cell: Cell) -> None:
        if cell.life >= 0:
            os.close(cell.life)
            cell.life = -1

    def _reap_builder(self, cell: Cell) -> None:
        builder, cell.builder = cell.builder, 0
        if builder:
            patience.reap(builder)

    def _destroy_all(self) -> str:
        deadline = time.monotonic() + patience.CLEARING
        self._drop(self._parent_fd)
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        for cell in list(self._cells.values()):
            self._retire(cell)
        while self._cells and time.monotonic() < deadline:
            self._loop.turn(deadline - time.monotonic())
        left = [line for cell in self._cells.values() if (line := cell.last_words())]
        if not left:
            return ""
        return f"{', '.join(left)}: not dead within {patience.CLEARING:g} s, and left behind"


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
