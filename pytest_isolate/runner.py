"""The parent's half: an item's run in its sandbox, and what comes of it.

It is imported for the first isolated item: most of what it takes is not needed before.
"""

from __future__ import annotations

from contextlib import ExitStack
from contextlib import closing
from contextlib import suppress
from functools import partial
import os
import random
import sys
import threading
from typing import TYPE_CHECKING
from typing import Final
from typing import assert_never
from typing import final

from pytest_isolate import _compat
from pytest_isolate import aftermath
from pytest_isolate import child
from pytest_isolate import live
from pytest_isolate import timeline
from pytest_isolate import top
from pytest_isolate.guests import Guests
from pytest_isolate.guests import limit
from pytest_isolate.guests import take_limit
from pytest_isolate.header import header
from pytest_isolate.options import distributes
from pytest_isolate.options import policy_of
from pytest_isolate.options import run_policy
from pytest_isolate.options import wants_shell
from pytest_isolate.output import Output
from pytest_isolate.replay import Replay
from pytest_isolate.resolution import Resolved
from pytest_isolate.resolution import Unavailable
from pytest_isolate.resolution import Unconfined
from pytest_isolate.sandbox.errors import KeeperError
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import Usage
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandboxes import Sandboxes
from pytest_isolate.settings import Leaks
from pytest_isolate.settings import Recourse
from pytest_isolate.walls import Walls

if sys.platform == "linux":
    from pytest_isolate.sandbox import supervisor
    from pytest_isolate.sandbox.entry import Entry
    from pytest_isolate.sandbox.inquest import LastWords
    from pytest_isolate.sandbox.interpreter import needed_libraries
    from pytest_isolate.shell import Shells
    from pytest_isolate.shell import check as check_shell

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from pytest_isolate.guests import TimerSettings
    from pytest_isolate.policy import Policy
    from pytest_isolate.sandbox.capabilities import Capabilities
    from pytest_isolate.sandbox.outcome import Outcome
    from pytest_isolate.sandbox.pool import Lease

_STACKS_LIMIT: Final = 256 * 1024  #: bytes


@final
class Runner:
    """What one session has for its isolated items. Raises UsageError for what cannot be."""

    def __init__(self, config: pytest.Config) -> None:
        if sys.platform == "linux":
            check_shell(config)
        self.tap = child.Tap()
        self.guests = Guests(config)
        self.sandboxes = Sandboxes(config)
        self._config = config
        self._threads = _threads()
        config.pluginmanager.register(self.tap, "isolate-tap")
        config.add_cleanup(self.sandboxes.close)

    def header(self) -> str:
        """Return the line that tells what is in force, with what is had if that is known."""
        capabilities: Capabilities | None = None
        runs_none = self._config.option.collectonly or distributes(self._config)
        if sys.platform == "linux" and not runs_none:
            with suppress(KeeperError):  # each test will say so
                capabilities = self.sandboxes.capabilities
        return header(run_policy(self._config), capabilities)

    def expect(self, items: Sequence[pytest.Item]) -> None:
        """Make ready for *items*, all of the session in their order."""
        self.guests.adopt(self.runtestprotocol)
        self._threads = _threads()  # those of plugins and imported modules are no test's concern
        self.sandboxes.expect(items)

    def new_threads(self) -> tuple[str, ...]:
        """Return the names of threads that tests have left here, each once a session."""
        threads = _threads()
        new = threads - self._threads
        self._threads |= threads
        return tuple(sorted(new))

    def run_item(
        self, item: pytest.Item, policy: Policy, nextitem: pytest.Item | None
    ) -> bool | None:
        """Run *item* isolated if it can be, as `pytest_runtest_protocol`."""
        if self.guests.rerun:
            return None  # they will call the function below
        if isinstance(self.sandboxes.resolve(policy), Unconfined):
            return None
        hook = item.ihook
        hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        replay = self._replay(item, policy, nextitem, log=True)
        if not replay.stopped:
            hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        replay.finish()
        return True

    def runtestprotocol(
        self,
        item: pytest.Item,
        log: bool = True,  # noqa: FBT001, FBT002  # as pytest's
        nextitem: pytest.Item | None = None,
    ) -> list[pytest.TestReport]:
        """Run the protocol of *item* in a sandbox, and return the reports of its phases.

        It stands in for pytest's function of that name, for those who call that.
        """
        # A session within a test of pytest's own kind may do without this plugin.
        policy = policy_of(item) if item.config is self._config else None
        if policy is None or isinstance(self.sandboxes.resolve(policy), Unconfined):
            return _compat.runtestprotocol(item, log=log, nextitem=nextitem)
        self.guests.begins(item)
        replay = self._replay(item, policy, nextitem, log=log and not self.guests.rerun)
        replay.finish()
        if not log:
            self.tap.verdicts.clear()  # the caller makes its own
        self.guests.judge(item, replay.reports, log=log)
        return replay.reports

    def take_timer(self, item: pytest.Item, policy: Policy, settings: TimerSettings) -> bool | None:
        """Take over the limit that pytest-timeout would set a timer for, as its hook.

        In a test process it is one for the test's function alone, and stays with pytest-timeout.
        """
        if self.tap.voice is not None:
            return None
        if isinstance(self.sandboxes.resolve(policy), Unconfined):
            return None
        if not live.wants_debugger(self._config):
            take_limit(item, settings)
        return True

    def summarize(self, reporter: pytest.TerminalReporter) -> None:
        """Show at the session's end what was asked for, from the reports of all processes."""
        aftermath.summarize(reporter)
        number = run_policy(self._config).top
        if number is not None:
            reports = (report for reports in reporter.stats.values() for report in reports)
            hungriest = top.hungriest(top.appetites(reports), number)
            if hungriest:
                reporter.section(top.title(number))
                for appetite in hungriest:
                    reporter.line(appetite.line())

    def _replay(
        self, item: pytest.Item, policy: Policy, nextitem: pytest.Item | None, *, log: bool
    ) -> Replay:
        """Run *item* in its sandbox, up to its last report."""
        self.tap.verdicts.clear()
        replay = Replay(item=item, tap=self.tap, guests=self.guests, log=log)
        outcome: Outcome
        usage = Usage(wall_seconds=0.0)
        cap = None
        resolution = self.sandboxes.resolve(policy)
        match resolution:
            case Resolved(spec):
                cap = spec.memory_cap
                try:
                    with self.sandboxes.lease(spec) as lease:
                        end = _run(self, policy, lease, replay, nextitem)
                except SandboxError as error:
                    outcome = _refuse(replay, error, policy)
                else:
                    outcome, usage = end.outcome, end.usage
            case Unavailable(error):
                outcome = _refuse(replay, error, policy)
            case Unconfined():
                msg = "a test without a sandbox is not replayed"
                raise AssertionError(msg)
            case _:
                assert_never(resolution)
        replay.close(nextitem, usage, cap)
        item.ihook.pytest_isolate_finished(item=item, outcome=outcome, usage=usage)
        return replay


def _threads() -> set[str]:
    return {
        thread.name
        for thread in threading.enumerate()
        # A dummy is a thread that is not Python's own making.
        if not isinstance(thread, threading._DummyThread)  # noqa: SLF001
    }


def _refuse(replay: Replay, error: SandboxError, policy: Policy) -> Outcome:
    skip = policy.unavailable is Recourse.SKIP
    replay.refuse(error, skip=skip)
    return SetupFailed(error)


def _run(
    runner: Runner, policy: Policy, lease: Lease, replay: Replay, nextitem: pytest.Item | None
) -> supervisor.End:
    """Run the item of *replay* in the sandbox of *lease*, and judge how it ended."""
    item, config = replay.item, replay.item.config
    with ExitStack() as stack:
        cap = lease.spec.memory_cap
        output = stack.enter_context(closing(Output(config, cap=cap)))
        stacks = live.own(stack, os.memfd_create("isolate-stacks", os.MFD_CLOEXEC))
        gate = live.gate(stack, replay) if live.talks_live(config) else -1
        visitor = live.Visitor(shared=live.wants_debugger(config))
        visitor.attend(stack)
        replay.debugged = lambda on: visitor.debug(on=on)
        replay.attended = live.wants_debugger(config) or wants_shell(config)
        order = child.Order(
            stacks=stacks,
            gate=gate,
            guests=runner.guests,
            random_state=random.getstate(),
            release_interrupts=visitor.release,
            threads=runner.new_threads(),
            leaks=policy.report_leaks is not Leaks.OFF,
            walls=Walls(writable=lease.spec.writable) if lease.spec.landlock else None,
        )
        entry = Entry(
            cwd=_working_directory(config),
            env=dict(policy.env),
            pass_env=policy.kept,
            keep_fds=(*_compat.inherited_fds(config), *output.fds, stacks, gate),
            new_session=not live.wants_debugger(config),
            preload=needed_libraries() if isinstance(lease.spec.root, DirectoryRoot) else (),
        )
        timeout = policy.timeout if policy.asked("timeout") else limit(item)
        shells = Shells(item, lease, entry, visitor, timeout=timeout)
        if wants_shell(config):
            replay.failed = shells.open_for_report
        line = timeline.wanted(config, lease.alarm)
        _compat.flush_streams(config)
        # Before the fork, and not while the test runs: until the process ends, every page that is
        # written to here is copied.
        runner.sandboxes.foresee(nextitem)
        end = supervisor.run(
            lease,
            entry,
            partial(child.run, item, runner.tap, output, order),
            timeout=timeout,
            clock=visitor.clock,
            on_frame=replay.hear,
            on_start=visitor.aim,
            on_timeout=shells.open_for_timeout if wants_shell(config) else lambda: None,
            chore=output.keep_house if line is None else line.between(output.keep_house),
            live=gate >= 0,
            last_words=_last_words(stacks),
        )
        replay.judge(
            end,
            output=output.read(),
            stacks=_read_stacks(stacks),
            cap=cap,
            timeline=line,
        )
        aftermath.inspect(lease, policy, replay)
    return end


def _last_words(stacks: int) -> LastWords:
    """Return how a test process is asked for its threads' stacks, in the file *stacks*."""
    frame = sys._getframe()  # noqa: SLF001  # there is no other way to it
    while frame.f_back is not None:
        frame = frame.f_back
    # The main thread comes last, down to this frame or to as many as faulthandler shows.
    ends = (f" in {frame.f_code.co_name}\n".encode(errors="backslashreplace"), b"\n  ...\n")
    return LastWords(number=child.STACKS_SIGNAL, file=stacks, ends=ends)


def _read_stacks(file: int) -> str:
    size = min(_STACKS_LIMIT, os.lseek(file, 0, os.SEEK_CUR))
    return os.pread(file, size, 0).decode(errors="replace")


def _working_directory(config: pytest.Config) -> str:
    try:
        return os.getcwd()  # noqa: PTH109  # a string is wanted
    except FileNotFoundError:  # a test that is not isolated has removed it
        return os.fspath(config.rootpath)
