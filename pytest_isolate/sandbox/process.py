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
import os
import select
import signal
import struct
import sys
import traceback
from typing import TYPE_CHECKING
from typing import Final
from typing import NoReturn
import warnings

from pytest_isolate.sandbox import _libc
from pytest_isolate.sandbox import entry as door
from pytest_isolate.sandbox import family
from pytest_isolate.sandbox import interpreter
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.errors import step
from pytest_isolate.wire.channel import Reader
from pytest_isolate.wire.channel import Writer
from pytest_isolate.wire.errors import PeerGone
from pytest_isolate.wire.frames import Bye
from pytest_isolate.wire.frames import Confined
from pytest_isolate.wire.frames import Refused
from pytest_isolate.wire.genuine import Genuine

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_isolate.sandbox.entry import Entry
    from pytest_isolate.sandbox.pool import Lease

_BROKEN: Final = 3  #: exit status of a process whose *main* raised
_STATUS: Final = struct.Struct("id")  #: wait status, CPU seconds
_KILL_AGAIN_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """What the kernel says of an ended process, its waited-for children's time included."""

    status: int = 0
    cpu_seconds: float | None = None
    timed_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A started process; `pid` is the relay's where there is one."""

    pid: int
    pidfd: int
    reader: Reader
    relayed: int  #: the relay's status pipe, or -1

    def wait(self, *, timed_out: bool) -> Exit:
        """Reap the process."""
        try:
            _, status, rusage = os.wait4(self.pid, 0)
        except ChildProcessError:
            # Somebody ignores SIGCHLD or waits for any child; frames decide what can be said.
            return Exit(timed_out=timed_out)
        cpu = rusage.ru_utime + rusage.ru_stime
        if self.relayed >= 0:
            words = Genuine.read(self.relayed, _STATUS.size)
            if len(words) == _STATUS.size:
                status, cpu = _STATUS.unpack(words)
        return Exit(status=status, cpu_seconds=cpu, timed_out=timed_out)

    def inner_pid(self) -> int:
        """Return the pid of the process in the sandbox, 0 if it cannot be told any more."""
        if self.relayed < 0:
            return self.pid
        try:
            with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as file:
                return int(file.read().split()[0])
        except (OSError, IndexError):
            return 0

    def close(self) -> None:
        """Give back the descriptors."""
        self.reader.close()
        _close(self.pidfd, self.relayed)


def spawn(lease: Lease, entry: Entry, main: Callable[[Writer], None]) -> Process:
    """Start *main* in the sandbox of *lease*; raise `SandboxError` if it cannot be forked there."""
    inside = lease.pool.forks_inside and not lease.spec.partial
    reading, writing = os.pipe2(os.O_CLOEXEC)
    relayed, relaying = (-1, -1) if inside else os.pipe2(os.O_CLOEXEC)
    leading_out = door.descriptors_that_lead_out(keep=(*entry.keep_fds, writing))
    if lease.alarm is not None:
        # An eventfd leads nowhere, but who has these could ring them.
        leading_out = (*leading_out, *lease.alarm.fds)
    try:
        with step("fork into sandbox"):
            pid = _fork_into(lease.init) if inside else _fork()
        if pid == 0:
            _be_child(lease, entry, main, leading_out, writing=writing, relaying=relaying)
    except SandboxError:
        _close(reading, relayed)
        raise
    finally:
        _close(writing, relaying)
    return Process(pid=pid, pidfd=os.pidfd_open(pid), reader=Reader(reading), relayed=relayed)


def _close(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            Genuine.close(fd)


def _fork() -> int:
    with warnings.catch_warnings():
        # Python 3.12 warns of a fork with threads; ours is said once, in our words, by the caller.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _fork_into(init: int) -> int:
    """Fork a child that is in the PID namespace of *init* from its first instruction."""
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    pid = -1
    try:
        _libc.setns(init, _libc.CLONE_NEWPID)
        pid = _fork()
    finally:
        if pid != 0:
            # Left pointing at a namespace whose init is dead, every later fork would be ENOMEM.
            _libc.setns(own, _libc.CLONE_NEWPID)
        Genuine.close(own)
    return pid


def _be_child(
    lease: Lease,
    entry: Entry,
    main: Callable[[Writer], None],
    leading_out: tuple[int, ...],
    *,
    writing: int,
    relaying: int,
) -> NoReturn:
    status = _BROKEN
    try:
        interpreter.preload(entry.preload)
        door.enter(lease.spec, lease.init, pid_too=relaying >= 0)
        if relaying >= 0:
            if lease.spec.partial:
                # Whatever the test leaves behind becomes the relay's child.
                _libc.prctl(_libc.PR_SET_CHILD_SUBREAPER, 1)
            if pid := os.fork():
                _relay(pid, relaying, lease.init if lease.spec.partial else -1)
        door.join(lease.spec, lease.joins)
        door.settle(lease.spec, entry, leading_out, lease.scratch)
        writer = Writer(writing)
        writer.send(Confined())
        main(writer)
        writer.send(Bye())
        status = 0
    except SandboxError as error:
        with suppress(PeerGone):
            Writer(writing).send(Refused(error.to_json()))
    except PeerGone:
        pass  # the parent is dead, and so will this process be
    except BaseException:  # noqa: BLE001  # the outermost frame of a forked child
        # Not by `sys.stderr`, which may be anything by now.
        Genuine.write(2, traceback.format_exc().encode(errors="backslashreplace"))
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        Genuine.leave(status)


def _relay(pid: int, relaying: int, init: int) -> NoReturn:
    """Stand in for the process outside: pass signals in, and its status out.

    *init* is a pidfd whose process's death has to be the death of all, where no PID namespace
    sees to that; or -1.
    """
    os.setpgid(0, 0)  # the terminal's signals reach the process by itself, or are passed on once
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGRTMAX):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    if init >= 0:
        _wait_for_either(pid, init)
    _, status, rusage = os.wait4(pid, 0)
    if init >= 0:
        family.end()
    Genuine.write(relaying, _STATUS.pack(status, rusage.ru_utime + rusage.ru_stime))
    Genuine.leave(0)


def _wait_for_either(pid: int, init: int) -> None:
    """Wait until the child *pid* has ended; kill it and all of its own if *init* ends first."""
    pidfd = os.pidfd_open(pid)
    ends = select.poll()
    ends.register(pidfd, select.POLLIN)
    ends.register(init, select.POLLIN)
    ready = dict(ends.poll())
    while pidfd not in ready:
        family.kill()
        ready = dict(ends.poll(_KILL_AGAIN_SECONDS * 1000))
