"""Forking a process into a sandbox, and what the kernel says of it afterwards.

The process is a fork of the caller, so it has every imported module, copy on write. A PID
namespace is entered by fork only. Where the caller may (CAP_SYS_ADMIN) it points its own
`pid_for_children` at the sandbox around that one fork, and the process costs one fork of the big
interpreter. Otherwise a *relay* enters the namespaces, forks the process and passes its wait
status on.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
import os
import signal
import struct
import sys
import traceback
from typing import TYPE_CHECKING
from typing import Final
from typing import NoReturn
from typing import final

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.errors import step
from pytest_isolate.sandbox.launch import children
from pytest_isolate.sandbox.launch import entry as door
from pytest_isolate.sandbox.launch import forks
from pytest_isolate.sandbox.launch import libraries
from pytest_isolate.sandbox.launch.deputy import EVERY
from pytest_isolate.sandbox.launch.deputy import Deputy
from pytest_isolate.sandbox.launch.descriptors import inherited
from pytest_isolate.sandbox.launch.reopening import take_in
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.linux import pidfds
from pytest_isolate.sandbox.linux import process_tree
from pytest_isolate.sandbox.linux import procfs
from pytest_isolate.sandbox.linux import signals
from pytest_isolate.sandbox.linux import waits
from pytest_isolate.sandbox.rootfs import interpreter
from pytest_isolate.wire.channel import Reader
from pytest_isolate.wire.channel import Writer
from pytest_isolate.wire.errors import PeerGone
from pytest_isolate.wire.frames import Bye
from pytest_isolate.wire.frames import Confined
from pytest_isolate.wire.frames import Refused
from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_isolate.sandbox.handle import Sandbox
    from pytest_isolate.sandbox.launch.descriptors import Inherited
    from pytest_isolate.sandbox.launch.entry import Entry

_BROKEN: Final = 3  #: exit status of a process whose *main* raised
_STATUS: Final = struct.Struct("id")  #: wait status, CPU seconds
_KILL_AGAIN_SECONDS: Final = 0.01
#: What a relay passes on.
_PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGRTMAX)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """What the kernel says of an ended process, its waited-for children's time included."""

    status: int = 0
    cpu_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A started process; `pid` is the relay's where there is one."""

    pid: int
    pidfd: int
    reader: Reader
    relayed: int  #: the relay's status pipe, or -1
    aside: signals.SignalAction | None  #: what the caller has made of SIGCHLD, to be put back

    def wait(self) -> Exit:
        """Reap the process."""
        try:
            _, status, rusage = os.wait4(self.pid, 0)
        except ChildProcessError:
            # Another thread waits for any child; frames decide what can be said.
            return Exit()
        cpu = rusage.ru_utime + rusage.ru_stime
        if self.relayed >= 0:
            words = RealOS.read(self.relayed, _STATUS.size)
            if len(words) == _STATUS.size:
                status, cpu = _STATUS.unpack(words)
        return Exit(status=status, cpu_seconds=cpu)

    def give_up(self, limit: float) -> None:
        """Reap the process, which was killed with its sandbox; what does not die is left behind."""
        if waits.wait(self.pid, self.pidfd, limit):
            waits.reap(self.pid, 0)
        else:
            self.wait()

    def inner_pid(self) -> int:
        """Return the pid of the process in the sandbox, 0 if it cannot be told any more."""
        if self.relayed < 0:
            return self.pid
        return next(iter(procfs.children_of(self.pid)), 0)

    def close(self) -> None:
        """Give back the descriptors, and SIGCHLD."""
        self.reader.close()
        _close(self.pidfd, self.relayed)
        children.put_back(self.aside)


def spawn(sandbox: Sandbox, entry: Entry, main: Callable[[Writer], None]) -> Process:
    """Start *main* in *sandbox*; raise `SandboxError` if it cannot be forked there."""
    # Libraries that came first start their threads in this process while it is set to fork inside.
    inside = (
        sandbox.keeping.forks_inside and not sandbox.spec.partial and not libraries.came_first()
    )
    reading, writing = os.pipe2(os.O_CLOEXEC)
    relayed, relaying = (-1, -1) if inside else os.pipe2(os.O_CLOEXEC)
    own = (*sandbox.fds, *sandbox.keeping.fds, reading, relayed, relaying)
    found = inherited((*entry.keep_fds, writing), own, reopens=entry.reopens)
    if sandbox.layers is not None:
        sandbox.layers.opened.update((file.path, file.status) for file in found.files)
    # Sandboxes of one run, and of several at once, are not to sit on the same CPU.
    turn = sandbox.number + os.getpid()
    aside = children.set_aside()
    child = _Child(
        sandbox, entry, main, found, aside, writing=writing, relaying=relaying, turn=turn
    )
    try:
        with step("fork into sandbox"):
            pid = _fork_into(sandbox.init, child.go_in) if inside else forks.fork(child.go_in)
        if pid == 0:
            child.run()
    except SandboxError:
        _close(reading, relayed)
        children.put_back(aside)
        raise
    finally:
        _close(writing, relaying)
    pidfd = os.pidfd_open(pid)
    return Process(pid=pid, pidfd=pidfd, reader=Reader(reading), relayed=relayed, aside=aside)


def _close(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            RealOS.close(fd)


def _fork_into(init: int, first: Callable[[], None]) -> int:
    """Fork a child that is in the PID namespace of *init* from its first instruction."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    pid = -1
    try:
        libc.setns(init, libc.CLONE_NEWPID)
        pid = forks.fork(first, (libc.setns_in_c, own, libc.CLONE_NEWPID))
    finally:
        if pid != 0:
            # Left pointing at a namespace whose init is dead, every later fork would be ENOMEM.
            libc.setns(own, libc.CLONE_NEWPID)
        RealOS.close(own)
    return pid


@final
class _Child:
    """What the forked process does: go in, before anybody else's handlers run there, and *main*."""

    def __init__(
        self,
        sandbox: Sandbox,
        entry: Entry,
        main: Callable[[Writer], None],
        found: Inherited,
        aside: signals.SignalAction | None,
        *,
        writing: int,
        relaying: int,
        turn: int,
    ) -> None:
        self._sandbox = sandbox
        self._entry = entry
        self._main = main
        self._found = found
        self._aside = aside
        self._writing = writing
        self._relaying = relaying
        self._turn = turn
        self._writer: Writer | None = None

    def go_in(self) -> None:
        """Enter the sandbox and say so, or say why not and end."""
        try:
            self._enter()
        except OSError as error:  # as without a descriptor to spare
            self._leave(SandboxError.from_os_error(error))
        except BaseException as error:  # noqa: BLE001  # the outermost frame of a forked child
            self._leave(error)

    def run(self) -> NoReturn:
        """Do what the process is for, and end."""
        try:
            writer = self._writer
            if writer is None:
                raise SandboxError("enter sandbox", "Python did not run its at-fork handlers")  # noqa: TRY301  # one frame tells all
            self._main(writer)
            writer.send(Bye())
        except BaseException as error:  # noqa: BLE001  # the outermost frame of a forked child
            self._leave(error)
        self._leave(None)

    def _enter(self) -> None:
        sandbox, relaying = self._sandbox, self._relaying
        interpreter.preload(self._entry.preload)
        door.enter(sandbox.spec, sandbox.init, pid_too=relaying >= 0)
        if relaying >= 0:
            if sandbox.spec.partial:
                # Whatever the test leaves behind becomes the relay's child.
                libc.prctl(libc.PR_SET_CHILD_SUBREAPER, 1)
            # Without Python's handlers: the relay is nobody's process, and those of the child are
            # about to run.
            if pid := libc.fork():
                if self._entry.attended:
                    _attend(pid, relaying, self._entry)
                _relay(pid, relaying, sandbox.init if sandbox.spec.partial else -1)
        children.put_back(self._aside)
        door.join(sandbox.spec, sandbox.joins)
        door.use_cpus(sandbox.spec.limits.cpus, self._turn)
        self._entry.covered.extend(take_in(self._found, sandbox.spec))
        door.settle(sandbox.spec, self._entry, sandbox.scratch)
        self._writer = Writer(self._writing)
        self._writer.send(Confined())

    def _leave(self, error: BaseException | None) -> NoReturn:
        """End the process, and say why if it is for *error*."""
        try:
            match error:
                case SandboxError():
                    with suppress(PeerGone):
                        Writer(self._writing).send(Refused(error.to_json()))
                case None | PeerGone():  # the parent is dead, and so will this process be
                    pass
                case _:
                    # Not by `sys.stderr`, which may be anything by now.
                    text = "".join(traceback.format_exception(error))
                    RealOS.write(2, text.encode(errors="backslashreplace"))
        finally:
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):
                    stream.flush()
            RealOS.leave(0 if error is None else _BROKEN)


def _relay(pid: int, relaying: int, init: int) -> NoReturn:
    """Stand in for the process outside: pass signals in, and its status out.

    *init* is a pidfd whose process's death has to be the death of all, where no PID namespace
    sees to that; or -1.
    """
    os.setpgid(0, 0)  # the terminal's signals reach the process by itself, or are passed on once

    def pass_on(number: int, _frame: object) -> None:
        with suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, number)

    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    # Whoever has started this may have blocked them until now, so that none is lost.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    if init >= 0:
        _wait_for_either(pid, init)
    _, status, rusage = os.wait4(pid, 0)
    if init >= 0:
        process_tree.end()
    RealOS.write(relaying, _STATUS.pack(status, rusage.ru_utime + rusage.ru_stime))
    RealOS.leave(0)


def _attend(pid: int, relaying: int, entry: Entry) -> NoReturn:
    """Be the relay of a process whose caller is a deputy for it: be one as well, to the caller.

    What was sent to the whole process group has reached the process by itself, and comes from
    somebody else than the caller.
    """
    # What was handed through is the command's: a pipe ends when that has closed it.
    _close(*entry.keep_fds)
    with suppress(OSError):
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for fd in (0, 1):
            os.dup2(null, fd)
    caller = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, EVERY)
    send, is_for_child = partial(os.kill, pid), lambda info: info.si_pid == caller
    deputy = Deputy(pid, send, is_for_child, entry.terminal)
    while True:
        deputy.next()
        ended, status, rusage = os.wait4(pid, os.WNOHANG)
        if ended:
            RealOS.write(relaying, _STATUS.pack(status, rusage.ru_utime + rusage.ru_stime))
            RealOS.leave(0)


def _wait_for_either(pid: int, init: int) -> None:
    """Wait until the child *pid* has ended; kill it and all of its own if *init* ends first."""
    pidfd = os.pidfd_open(pid)
    ended = pidfds.ended((pidfd, init), None)
    while pidfd not in ended:
        process_tree.kill()
        ended = pidfds.ended((pidfd,), _KILL_AGAIN_SECONDS)
