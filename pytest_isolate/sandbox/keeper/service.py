"""The process that owns the sandboxes: `python -I -S`, started once by the parent.

It makes sandboxes ahead of time and hands their descriptors over, so that neither making nor
removing one is on a test's critical path, and it outlives a crash of the parent: when the socket
or the parent's pidfd says that the parent is gone, everything is destroyed.

One loop over descriptors, nothing in it blocks for long: the parent's socket, and of each sandbox
the pipe that tells how far it has come and the pidfd that tells that its init is dead.
"""

from __future__ import annotations

from contextlib import nullcontext
from contextlib import suppress
from dataclasses import replace
import os
import socket
import sys
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox import remedies
from pytest_isolate.sandbox.cgroups import open_cgroups
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.features import Part
from pytest_isolate.sandbox.keeper import probe
from pytest_isolate.sandbox.keeper.lifecycle import Phase
from pytest_isolate.sandbox.keeper.planner import Planner
from pytest_isolate.sandbox.keeper.sandboxes import Sandboxes
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.wire.channel import Socket
from pytest_isolate.wire.errors import PeerGone
from pytest_isolate.wire.frames import Hello
from pytest_isolate.wire.frames import Prepare
from pytest_isolate.wire.frames import Retire
from pytest_isolate.wire.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_isolate.wire.frames import KeeperFrame

_STDERR: Final = 2


@final
class Keeper:
    """The conversation with one parent."""

    def __init__(self, channel: Socket, parent: int, head: int) -> None:
        self._socket = channel
        self._parent_fd = os.pidfd_open(parent)
        self._cgroups = open_cgroups(head)
        self._planner = Planner.survey()
        self._loop = Loop()
        self._sandboxes = Sandboxes(
            loop=self._loop,
            planner=self._planner,
            cgroups=self._cgroups,
            send=self._send,
            leave=self._leave,
        )
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
                self._sandboxes.turn()
        except PeerGone:
            pass
        finally:
            self._open = False
            left = ""
            try:
                self._hang_up()
                left = self._sandboxes.destroy_all()
            finally:
                with suppress(SandboxError) if left else nullcontext():
                    self._cgroups.close()
        return left

    def _say_hello(self) -> None:
        """Try the whole path on a sandbox of the default kind, then say what this machine gives."""
        trial = self._try(0, Spec())
        if trial.error is not None and trial.error.part is Part.HOSTNAME:
            trial = replace(self._try(-1, Spec(hostname=None)), hostname=trial.error)
        capabilities = probe.capabilities(trial, self._planner, self._cgroups.capabilities)
        self._socket.send(Hello(capabilities.to_json()))

    def _try(self, number: int, spec: Spec) -> probe.Trial:
        record = self._sandboxes.prepare(number, spec)
        while record.life.phase is Phase.MAKING and self._open:
            self._sandboxes.turn()
        error = record.error
        if error is None and record.life.phase is Phase.READY:
            error = probe.try_entry(record.pidfd, spec)
        self._sandboxes.retire(number)
        return probe.Trial(error=error, shortfalls=tuple(record.shortfalls))

    def _hear_parent(self) -> None:
        for frame, _ in self._socket.poll():
            match frame:
                case Prepare(sandbox=number, spec=spec):
                    self._sandboxes.prepare(number, Spec.from_json(spec))
                case Retire(sandbox=number):
                    self._sandboxes.retire(number)
                case _:
                    self._leave()
        if self._socket.eof:
            self._leave()

    def _send(self, frame: KeeperFrame, fds: Sequence[int]) -> None:
        if self._open:
            self._socket.send(frame, fds)

    def _leave(self) -> None:
        self._open = False

    def _hang_up(self) -> None:
        for fd in (self._parent_fd, self._socket.fileno()):
            self._loop.forget(fd)
        os.close(self._parent_fd)
        self._socket.close()


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
