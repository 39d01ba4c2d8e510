"""What runs in the test process: pytest's own protocol, and a forwarder of what it reports.

The process is a fork of the parent and has all of its plugins, but the reporters among them are
taken out: they act in the parent, where the forwarder's frames are replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import field
import faulthandler
import random
import signal
import threading
import traceback
from types import FrameType
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import TypeAlias
from typing import final

import pytest

from pytest_isolate._compat import capture
from pytest_isolate._compat import hookimpls
from pytest_isolate._compat import phases
from pytest_isolate._compat import records
from pytest_isolate._compat import teardown
from pytest_isolate._compat import terminal_reporter
from pytest_isolate.child import executors
from pytest_isolate.child import multiproc
from pytest_isolate.child import watchdogs
from pytest_isolate.child.ending import Ending
from pytest_isolate.child.garbage import Garbage
from pytest_isolate.child.garbage import prepared
from pytest_isolate.integrations import debugger
from pytest_isolate.sandbox.supervise import last_words
from pytest_isolate.transfer import base_directory
from pytest_isolate.transfer import caught_warnings
from pytest_isolate.transfer import reports
from pytest_isolate.transfer import surrogates
from pytest_isolate.transfer.notes.books import NO_HOOKS
from pytest_isolate.transfer.notes.watcher import Watcher
from pytest_isolate.transfer.session_state import SessionState
from pytest_isolate.warning_types import PytestIsolateWarning
from pytest_isolate.wire.errors import LocalProtocolError
from pytest_isolate.wire.errors import PeerGone
from pytest_isolate.wire.frames import Event
from pytest_isolate.wire.frames import Phase
from pytest_isolate.wire.frames import Report
from pytest_isolate.wire.frames import Stop
from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Generator
    import warnings

    from pytest_isolate.child.denials import Denials
    from pytest_isolate.child.doors import Doors
    from pytest_isolate.child.watchdogs import Watchdog
    from pytest_isolate.integrations.debugger import Connection
    from pytest_isolate.integrations.registry import Integrations
    from pytest_isolate.transfer.notes.books import Hooks
    from pytest_isolate.transfer.output import Output
    from pytest_isolate.wire.channel import Writer
    from pytest_isolate.wire.frames import Frame

#: Makes a test process write all threads' stacks to its `Job.stacks`.
STACKS_SIGNAL: Final = signal.SIGRTMAX
#: Makes the thread that gets it write its own; lower, so that of both it is heard first.
STACK_SIGNAL: Final = signal.SIGRTMAX - 1
#: What `signal.signal` returns.
Handler: TypeAlias = Callable[[int, FrameType | None], Any] | int | None
#: The name of the event that tells of an exception in no test's code.
BROKEN: Final = "broken"
#: The name of the event that tells of the threads that a test has left running.
THREADS: Final = "threads"
#: How long threads may take to end: some have been told to, and are about to.
_LIMIT_SECONDS: Final = 0.2
#: The name of the event that tells that the debugger has taken the terminal, or left it.
DEBUGGER: Final = "debugger"
#: The name of the event that tells what left the phase of the last report, a failure.
INTERACT: Final = "interact"
#: The name of the event that tells what plugins have noted since the last report.
NOTES: Final = "notes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the parent has made ready for one test process."""

    stacks: int  #: a file for the stacks of a crash
    gate: int  #: a pipe with a byte for each report that the parent has shown, or -1: do not wait
    debugger: Connection | None  #: to an IDE
    integrations: Integrations
    random_state: tuple[Any, ...]  #: CPython seeds a forked process anew
    release_interrupts: Callable[[], None]  #: gives SIGINT back, which the parent has taken over
    watchdog: Watchdog  #: faulthandler's
    executors: tuple[object, ...]  #: of concurrent.futures that the parent has used
    threads: tuple[str, ...] = ()  #: names of the parent's threads, if they are to be warned of
    leaks: bool = False  #: whether to tell what threads the test leaves running
    denials: Denials | None = None  #: of a partial sandbox
    directories: int = -1  #: where to note numbered directories, see `base_directory`
    reporters: hookimpls.Unhooking  #: which have nothing to say there
    hooks: Hooks = NO_HOOKS  #: of other plugins, which may note something
    doors: Doors | None = None
    garbage: Garbage = field(default_factory=prepared)


@final
class Forwarder:
    """The plugin on both sides of the fork: it speaks in a test process, is silent elsewhere."""

    def __init__(self) -> None:
        self.sender: Sender | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Tell of the phase."""
        if self.sender is not None:
            self.sender.enter("setup")
            self.sender.warn_of_threads(item)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self) -> None:
        """Tell of the phase."""
        if self.sender is not None:
            self.sender.enter("call")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self) -> None:
        """Tell of the phase."""
        if self.sender is not None:
            self.sender.enter("teardown")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None]:
        """Send the report; the session's own hook, which counts failures, comes after it."""
        if self.sender is None:
            return (yield)
        self.sender.send_report(report)
        yield
        self.sender.note_count()

    @pytest.hookimpl(tryfirst=True)
    def pytest_enter_pdb(self) -> None:
        """Tell that somebody looks at the test."""
        if self.sender is not None:
            self.sender.begin_debugging()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_exception_interact(
        self, call: pytest.CallInfo[None], report: pytest.CollectReport | pytest.TestReport
    ) -> Generator[None, object, object]:
        """Tell what plugins in the parent are to see, and whether the debugger has shown it."""
        try:
            return (yield)
        finally:
            if self.sender is not None:
                self.sender.tell_failure(call, shown=terminal_reporter.is_shown_by_debugger(report))

    def pytest_leave_pdb(self) -> None:
        """Tell that the test goes on."""
        if self.sender is not None:
            self.sender.send(Event(DEBUGGER, {"on": False}))

    def pytest_warning_recorded(
        self,
        warning_message: warnings.WarningMessage,
        when: str,
        nodeid: str,
        location: tuple[str, int, str] | None,
    ) -> None:
        """Send the warning."""
        if self.sender is not None:
            frame = caught_warnings.pack(
                warning_message, when=when, nodeid=nodeid, location=location
            )
            self.sender.send(frame)


@final
class Sender:
    """What a test process says of one item."""

    def __init__(self, item: pytest.Item, job: Job, writer: Writer) -> None:
        self._item = item
        self._session = item.session
        self._job = job
        self._writer = writer
        self._session_state = SessionState(item)
        self._watcher = Watcher(item, job.hooks)
        if records.writes_junit(item.config):
            item.config.pluginmanager.register(self._session_state)
        self._pid = RealOS.getpid()
        self._on_terminal = job.gate >= 0  #: whether somebody sees what the test prints
        self._stops = {name: getattr(item.session, name) for name in ("shouldstop", "shouldfail")}

    def enter(self, when: reports.When) -> None:
        """Tell that a phase begins."""
        self.send(Phase(self._item.nodeid, when))

    def begin_debugging(self) -> None:
        """Tell that the debugger takes the terminal."""
        self._session_state.forget_cursor()
        self._on_terminal = True
        self.send(Event(DEBUGGER, {"on": True}))

    def send(self, frame: Frame) -> None:
        """Send *frame*; if the test has closed the pipe, the parent will see what is missing."""
        try:
            self._writer.send(frame)
        except PeerGone:
            pass
        except LocalProtocolError as error:
            self._writer.send(_broken(error))

    def send_report(self, report: pytest.TestReport) -> None:
        """Send *report* and what was noted before it, and wait if the parent is to show it now."""
        if RealOS.getpid() != self._pid:
            # A process that the test forked has come back from it. It must not go on as pytest,
            # whose captured output it would take, and nobody is to hear of it.
            RealOS.leave(0 if report.passed else 1)
        if self._on_terminal:
            # What the test has printed comes before what the parent prints of the report.
            capture.flush_streams(self._item.config)
        self.tell_changes()
        data = reports.pack(self._item.config, report, self._watcher.take(report))
        for attempt in (data, reports.degrade(data)):
            try:
                self._writer.send(Report(attempt))
                break
            except LocalProtocolError:
                continue
            except PeerGone:
                return
        else:
            self.send(Report(reports.degrade(reports.cut(data, report.longreprtext))))
        if self._job.gate >= 0:
            RealOS.read(self._job.gate, 1)

    def tell_failure(self, call: pytest.CallInfo[None], *, shown: bool) -> None:
        """Tell what has left the phase of the report that was sent last."""
        if call.excinfo is not None:
            place = call.excinfo.traceback[-1]
            failure = {
                "chain": list(surrogates.chain(call.excinfo.value)),
                "place": [str(place.path), place.lineno + 1, place.name],
                "shown": shown,
            }
            self.send(Event(INTERACT, failure))

    def note_count(self) -> None:
        """Take note of a limit of failures that was reached: the parent counts for itself."""
        self._stops["shouldfail"] = self._session.shouldfail

    def tell_last_notes(self) -> None:
        """Tell what plugins have noted since the last report."""
        if notes := self._watcher.take():
            self.send(Event(NOTES, {"notes": notes}))

    def tell_changes(self) -> None:
        """Tell what the test has changed in the session since the last time."""
        for event in self._session_state.entries():
            self.send(event)
        for name, before in self._stops.items():
            if (now := getattr(self._session, name)) != before:
                self._stops[name] = now
                self.send(Stop(name, str(now), None))

    def warn_of_threads(self, item: pytest.Item) -> None:
        """Warn, as the test's warning, of threads that its fork does not have."""
        if self._job.watchdog.lost:
            item.warn(PytestIsolateWarning(watchdogs.LOST))
        # A handler of a fork may have started one anew.
        running = {thread.name for thread in threading.enumerate()}
        if lost := [name for name in self._job.threads if name not in running]:
            names = ", ".join(lost)
            msg = f"threads of pytest's process do not run in isolated tests: {names}"
            item.warn(PytestIsolateWarning(msg))


def run(item: pytest.Item, forwarder: Forwarder, output: Output, job: Job, writer: Writer) -> None:
    """Run *item* in this process, a fork of the parent's, and tell *writer* of it."""
    config = item.config
    random.setstate(job.random_state)
    started = set(threading.enumerate())  # by handlers of the fork
    faulthandler.enable(job.stacks)
    _touch_signal_stack()
    last_words.answer(job.stacks, alone=STACK_SIGNAL, number=STACKS_SIGNAL)
    output.redirect()
    job.watchdog.arm()
    multiproc.forget()
    executors.renew(job.executors)
    teardown.disown(item.session)
    hookimpls.unhook_all(job.reporters)
    base_directory.note_directories(config, job.directories)
    if job.denials is not None:
        config.pluginmanager.register(job.denials)
    if job.doors:
        config.pluginmanager.register(job.doors)
    debugger.take_up(job.debugger)
    forwarder.sender = sender = Sender(item, job, writer)
    ending = Ending(item, sender.send, job.garbage)
    leave = job.integrations.begin(item, sender.send)
    try:
        with phases.recording_warnings(item):
            _protocol(item, sender, job)
            ending.clean_up()
        sender.tell_changes()
        sender.tell_last_notes()
        leave()
        if job.leaks:
            sender.send(Event(THREADS, {"names": _staying_threads(started)}))
        ending.leave()
    except Exception as error:  # noqa: BLE001  # the test process's outermost frame
        sender.send(_broken(error))
    finally:
        capture.flush_streams(config)


def _staying_threads(before: Collection[threading.Thread]) -> list[str]:
    """Return the names of the threads that run on and were not there *before*."""
    end = RealOS.monotonic() + _LIMIT_SECONDS
    mine = [one for one in threading.enumerate() if one not in before]
    for thread in mine:
        with suppress(RuntimeError):  # one that is not of Python's making cannot be waited for
            thread.join(max(0.0, end - RealOS.monotonic()))
    return [f"{one.name}{' (daemon)' * one.daemon}" for one in mine if one.is_alive()]


def _touch_signal_stack() -> None:
    """Have the pages now that the signal's frame will be written to: later there may be none."""
    # Python's own handlers run on faulthandler's stack as well (SA_ONSTACK).
    signal.signal(STACKS_SIGNAL, lambda _number, _frame: None)
    signal.raise_signal(STACKS_SIGNAL)


def _protocol(item: pytest.Item, sender: Sender, job: Job) -> None:
    """Run pytest's protocol; what ends the session there has to end the parent's."""
    try:
        job.release_interrupts()
        phases.runtestprotocol(item, log=True, nextitem=None)
    except pytest.exit.Exception as error:
        _wind_up(item)
        sender.send(Stop("exit", error.msg or "", error.returncode))
    except KeyboardInterrupt as error:
        place = pytest.ExceptionInfo.from_exception(error).traceback[-1]
        _wind_up(item)
        sender.send(Stop("interrupt", f"{place.path}:{place.lineno + 1}", None))


def _wind_up(item: pytest.Item) -> None:
    """Tear down, after the protocol was left without it; only what goes wrong is reported."""
    torn = teardown.tear_down(item, None)
    if torn is not None and torn.call.excinfo is not None:
        report = item.ihook.pytest_runtest_makereport(item=item, call=torn.call)
        item.ihook.pytest_runtest_logreport(report=report)


def _broken(error: BaseException) -> Event:
    kind = type(error).__name__
    text = "".join(traceback.format_exception(error))
    return Event(BROKEN, {"error": f"{kind}: {reports.describe(error, str)}", "traceback": text})
