"""One process in one sandbox, from fork to verdict.

The process is a fork of the caller, so it has every imported module, copy on write. A PID
namespace is entered by fork only. Where the caller may (CAP_SYS_ADMIN) it points its own
`pid_for_children` at the sandbox around that one fork, and the process costs one fork of the big
interpreter. Otherwise a *relay* enters the namespaces, forks the process and passes its wait
status on.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
import math
import os
import select
import signal
import struct
import sys
import time
import traceback
from typing import TYPE_CHECKING
from typing import Final
from typing import NoReturn
import warnings

from pytest_isolate.sandbox import _libc
from pytest_isolate.sandbox import entry as door
from pytest_isolate.sandbox import interpreter
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.errors import step
from pytest_isolate.sandbox.outcome import Outcome
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import Signaled
from pytest_isolate.sandbox.outcome import Usage
from pytest_isolate.sandbox.outcome import classify
from pytest_isolate.wire.channel import Reader
from pytest_isolate.wire.channel import Writer
from pytest_isolate.wire.errors import PeerGone
from pytest_isolate.wire.frames import Bye
from pytest_isolate.wire.frames import Confined
from pytest_isolate.wire.frames import Frame
from pytest_isolate.wire.frames import Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_isolate.sandbox.entry import Entry
    from pytest_isolate.sandbox.pool import Lease

_BROKEN: Final = 3  #: exit status of a process whose *main* raised
_STATUS: Final = struct.Struct("id")  #: wait status, CPU seconds
_LULL_SECONDS: Final = 0.02  #: how long frames are left waiting at first
_LAST_WORDS_SECONDS: Final = 0.2  #: what writing the stacks of some threads may take
_DYING_SECONDS: Final = 30.0  #: how long a killed process may take to be gone
_DRAIN_SECONDS: Final = 5.0  #: how long frames may still come after the process has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a process ended, and whether it had said everything."""

    outcome: Outcome
    usage: Usage
    said_bye: bool
    garbage: str  #: "", or how it broke the wire protocol


def run(
    lease: Lease,
    entry: Entry,
    main: Callable[[Writer], None],
    *,
    timeout: float | None = None,
    on_frame: Callable[[Frame], None] = lambda _: None,
    on_start: Callable[[int], None] = lambda _: None,
    live: bool = False,
    last_words: int = 0,
) -> End:
    """Run *main* in a fork of this process, inside the sandbox of *lease*.

    *on_start* is told the pid, *on_frame* every frame: at once if it is *live*, else soon. After
    *timeout* seconds, or if a callback raises, everything in the sandbox is killed; before that the
    process gets the signal *last_words* at a timeout, if that is not 0, and a moment to act on it.
    """
    started = time.monotonic()
    watch = _Watch(on_frame)
    last = _Exit()
    try:
        process = _spawn(lease, entry, main)
    except SandboxError as error:
        watch.refused = error
    else:
        try:
            on_start(process.pid)
            timed_out = _follow(process, lease, watch, timeout, live=live, last_words=last_words)
            last = process.wait(timed_out=timed_out)
        except BaseException:
            lease.kill()
            process.wait(timed_out=False)
            raise
        finally:
            process.close()
        watch.garbage = process.reader.garbage
    return _judge(lease, watch, last, timeout, time.monotonic() - started)


class _Watch:
    """What has been heard from the process so far."""

    def __init__(self, on_frame: Callable[[Frame], None]) -> None:
        self._on_frame = on_frame
        self.refused: SandboxError | None = None
        self.said_bye = False
        self.garbage = ""
        self.is_over = False  #: the time limit has passed: what is said after it does not count

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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exit:
    """What the kernel says of an ended process, its waited-for children's time included."""

    status: int = 0
    cpu_seconds: float | None = None
    timed_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    """A started process; `pid` is the relay's where there is one."""

    pid: int
    pidfd: int
    reader: Reader
    relayed: int  #: the relay's status pipe, or -1

    def wait(self, *, timed_out: bool) -> _Exit:
        """Reap the process."""
        try:
            _, status, rusage = os.wait4(self.pid, 0)
        except ChildProcessError:
            # Somebody ignores SIGCHLD or waits for any child; frames decide what can be said.
            return _Exit(timed_out=timed_out)
        cpu = rusage.ru_utime + rusage.ru_stime
        if self.relayed >= 0:
            words = os.read(self.relayed, _STATUS.size)
            if len(words) == _STATUS.size:
                status, cpu = _STATUS.unpack(words)
        return _Exit(status=status, cpu_seconds=cpu, timed_out=timed_out)

    def hear_out(self, number: int) -> None:
        """Send signal *number*, and give the process a moment to act on it."""
        if number:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)
            ended = select.poll()
            ended.register(self.pidfd, select.POLLIN)
            ended.poll(_LAST_WORDS_SECONDS * 1000)

    def close(self) -> None:
        self.reader.close()
        _close(self.pidfd, self.relayed)


def _spawn(lease: Lease, entry: Entry, main: Callable[[Writer], None]) -> _Process:
    inside = lease.pool.forks_inside
    reading, writing = os.pipe2(os.O_CLOEXEC)
    relayed, relaying = (-1, -1) if inside else os.pipe2(os.O_CLOEXEC)
    leading_out = door.descriptors_that_lead_out(keep=(*entry.keep_fds, writing))
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
    return _Process(pid=pid, pidfd=os.pidfd_open(pid), reader=Reader(reading), relayed=relayed)


def _close(*fds: int) -> None:
    for fd in fds:
        if fd >= 0:
            os.close(fd)


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
        os.close(own)
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
        if relaying >= 0 and (pid := os.fork()):
            _relay(pid, relaying)
        door.join(lease.joins)
        door.settle(lease.spec, entry, leading_out)
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
        os.write(2, traceback.format_exc().encode(errors="backslashreplace"))
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        os._exit(status)


def _relay(pid: int, relaying: int) -> NoReturn:
    """Stand in for the process outside: pass signals in, and its status out."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGRTMAX):
        signal.signal(number, lambda number, _: os.kill(pid, number))
    _, status, rusage = os.wait4(pid, 0)
    os.write(relaying, _STATUS.pack(status, rusage.ru_utime + rusage.ru_stime))
    os._exit(0)


def _follow(
    process: _Process,
    lease: Lease,
    watch: _Watch,
    timeout: float | None,
    *,
    live: bool,
    last_words: int,
) -> bool:
    """Read frames until the process has ended; return whether *timeout* ended it."""
    reader = process.reader
    deadline = _Deadline(timeout)
    poll = select.poll()
    poll.register(process.pidfd, select.POLLIN)
    if not live:
        # Most tests are over sooner: the pipe keeps what they say, and one waking reads it all.
        poll.poll(deadline.milliseconds(at_most=_LULL_SECONDS))
    poll.register(reader.fd, select.POLLIN)
    while True:
        ready = dict(poll.poll(deadline.milliseconds()))
        ended = process.pidfd in ready
        _drain(reader, watch, until_empty=ended)
        if ended:
            return deadline.expired
        if reader.eof and reader.fd in ready:
            poll.unregister(reader.fd)
        # At every turn, and not only when all is quiet: a flood of frames must not outrun it.
        if deadline.is_over():
            if deadline.expired:
                raise SandboxError("kill sandbox", "its processes did not die")
            # The signal may wake a process that waits for one, and it would go on.
            watch.is_over = True
            process.hear_out(last_words)
            lease.kill()
            deadline = _Deadline(_DYING_SECONDS, expired=True)


class _Deadline:
    """When the patience of *seconds* ends; *expired* says that it is the one after the first."""

    def __init__(self, seconds: float | None, *, expired: bool = False) -> None:
        self._time = math.inf if seconds is None else time.monotonic() + seconds
        self.expired = expired

    def is_over(self) -> bool:
        return time.monotonic() >= self._time

    def milliseconds(self, at_most: float = math.inf) -> float | None:
        left = min(at_most, max(0.0, self._time - time.monotonic()))
        return None if left == math.inf else left * 1000


def _drain(reader: Reader, watch: _Watch, *, until_empty: bool) -> None:
    # A grandchild may hold the pipe and write on: the end of the process is the end of its words.
    stop = time.monotonic() + _DRAIN_SECONDS
    while frames := reader.drain():
        for frame in frames:
            watch.hear(frame)
        if not until_empty or time.monotonic() > stop:
            return


def _judge(
    lease: Lease, watch: _Watch, last: _Exit, timeout: float | None, wall_seconds: float
) -> End:
    evidence = lease.evidence()
    outcome = classify(
        last.status,
        evidence,
        memory_cap=lease.spec.limits.memory,
        timed_out=timeout if last.timed_out else None,
        setup_error=watch.refused,
    )
    if outcome == Signaled(signal.SIGKILL) and (broken := lease.pool.broken()) is not None:
        outcome = SetupFailed(SandboxError("keep sandbox", str(broken)))
    cpu = last.cpu_seconds if evidence.cpu_seconds is None else evidence.cpu_seconds
    usage = Usage(
        wall_seconds=wall_seconds,
        cpu_seconds=cpu,
        memory_peak=evidence.memory_peak,
        processes=evidence.pids_peak,
    )
    return End(outcome=outcome, usage=usage, said_bye=watch.said_bye, garbage=watch.garbage)
