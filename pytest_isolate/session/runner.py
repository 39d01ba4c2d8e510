"""The parent's half: an item's run in its sandbox, and what comes of it.

It is imported for the first isolated item: most of what it takes is not needed before.
"""

from __future__ import annotations

from contextlib import ExitStack
from contextlib import closing
from contextlib import suppress
import dataclasses
from functools import cached_property
from functools import partial
import os
import random
import sys
import threading
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import assert_never
from typing import final

from pytest_isolate import _compat
from pytest_isolate.child import executors
from pytest_isolate.child import program
from pytest_isolate.child import watchdogs
from pytest_isolate.child.denials import Denials
from pytest_isolate.integrations import debugger
from pytest_isolate.integrations import notices
from pytest_isolate.integrations.registry import Integrations
from pytest_isolate.integrations.registry import limit
from pytest_isolate.integrations.registry import take_limit
from pytest_isolate.options import distributes
from pytest_isolate.options import policy_of
from pytest_isolate.options import run_policy
from pytest_isolate.policy.resolution import Resolved
from pytest_isolate.policy.resolution import Unavailable
from pytest_isolate.policy.settings import Leaks
from pytest_isolate.policy.settings import Recourse
from pytest_isolate.reporting import memory_plot
from pytest_isolate.reporting import top
from pytest_isolate.reporting.header import header
from pytest_isolate.reporting.header import requests
from pytest_isolate.sandbox.errors import KeeperError
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.launch import libraries
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import Usage
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.supervise.last_words import LastWords
from pytest_isolate.session import inspection
from pytest_isolate.session import interrupts
from pytest_isolate.session import takeover
from pytest_isolate.session.interaction import Interaction
from pytest_isolate.session.interrupts import Interrupts
from pytest_isolate.session.obstacles import Obstacles
from pytest_isolate.session.obstacles import beyond
from pytest_isolate.session.provider import SandboxProvider
from pytest_isolate.session.replay import Replay
from pytest_isolate.transfer import caught_warnings
from pytest_isolate.transfer.notes.books import NO_HOOKS
from pytest_isolate.transfer.notes.books import find_hooks
from pytest_isolate.transfer.output import Output

if sys.platform == "linux":
    from pytest_isolate.child.doors import Doors
    from pytest_isolate.sandbox.launch.entry import Entry
    from pytest_isolate.sandbox.rootfs.interpreter import needed_libraries
    from pytest_isolate.sandbox.supervise import execution
    from pytest_isolate.session.shell import Shells
    from pytest_isolate.session.shell import check as check_shell

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

    from pytest_isolate.integrations.registry import TimerSettings
    from pytest_isolate.policy.model import Policy
    from pytest_isolate.sandbox.handle import Sandbox
    from pytest_isolate.sandbox.outcome import Outcome
    from pytest_isolate.transfer.notes.books import Hooks

_STACKS_LIMIT: Final = 256 * 1024  #: bytes


@final
class Runner:
    """What one session has for its isolated items. Raises UsageError for what cannot be."""

    def __init__(self, config: pytest.Config) -> None:
        if sys.platform == "linux":
            check_shell(config)
            libraries.register()
        self.forwarder = program.Forwarder()
        self.integrations = Integrations(config)
        self.sandboxes = SandboxProvider(config)
        self._config = config
        self._threads = _threads()
        self._in_force = False
        self._last: pytest.Item | None = None
        self._warnings: list[dict[str, Any]] = []  #: of the running item
        self._hooks = NO_HOOKS
        self._reporters: _compat.Unhooking | None = None
        self._plugins = -1  #: how many there were when the two were found
        config.pluginmanager.register(self.forwarder, "isolate-forwarder")
        config.add_cleanup(self.sandboxes.close)

    @cached_property
    def interaction(self) -> Interaction:
        """Whom tests share the terminal with."""
        return Interaction.of(self._config)

    def header(self) -> str:
        """Return the line that tells what is in force, with what is had if that is known."""
        policy = run_policy(self._config)
        if sys.platform == "linux" and not self._runs_none():
            with suppress(KeeperError):  # each test will say so
                capabilities = self.sandboxes.capabilities
                return header(policy, self.sandboxes.resolve(policy), capabilities)
        return requests(policy)

    def _runs_none(self) -> bool:
        """Return whether no test will run in this process."""
        return self._config.option.collectonly or distributes(self._config)

    def _beyond_header(self, policy: Policy) -> str:
        """Return a line on what sandboxes of *policy* lack that the header could not know of."""
        resolution = self.sandboxes.resolve(policy)
        if isinstance(resolution, Resolved):
            with suppress(KeeperError):  # each test will say so
                notes = self.sandboxes.notes(resolution.spec)
                return beyond(notes, self.sandboxes.capabilities)
        return ""

    def notices(self, items: Sequence[pytest.Item]) -> list[str]:
        """Return a line for each thing that another plugin does not give of isolated *items*."""
        policies = [policy for item in items if (policy := policy_of(item)) is not None]
        isolated = [item for item in items if policy_of(item) is not None]
        writable = any(policy.writable for policy in (run_policy(self._config), *policies))
        told = [*notices.lines(self._config, isolated, writable=writable)]
        if isolated and sys.platform == "linux" and not self._runs_none():
            told += filter(None, [self._beyond_header(policies[0])])
        if debugger.is_attached() and not debugger.follows():
            told.append(debugger.NOT_FOLLOWED)
        return told

    def expect(self, items: Sequence[pytest.Item]) -> None:
        """Make ready for *items*, all of the session in their order."""
        self.integrations.adopt([item for item in items if policy_of(item) is not None])
        self.take_over()
        self._threads = _threads()  # those of plugins and imported modules are no test's concern
        self.sandboxes.expect(items)

    def new_threads(self) -> tuple[str, ...]:
        """Return the names of threads that tests have left here, each once a session."""
        threads = _threads()
        new = threads - self._threads
        self._threads |= threads
        return tuple(sorted(new))

    def take_over(self) -> None:
        """Let pytest's function that runs an item be ours, wherever it is called from."""
        if not self._in_force:
            self._in_force = True
            takeover.take_over(self._config, self.runtestprotocol)

    def show_warnings(self, item: pytest.Item) -> None:
        """Show the warnings of *item*, when its protocol is over: pytest records them around it."""
        warnings, self._warnings = self._warnings, []
        for arguments in warnings:
            item.ihook.pytest_warning_recorded.call_historic(kwargs=arguments)

    def check(self, item: pytest.Item, policy: Policy) -> None:
        """Tell if *item* is over and another plugin has not let it be isolated."""
        if item is self._last or _goes_without(policy):
            return
        who = ", ".join(takeover.runners(self._config)) or "a plugin"
        msg = f"{item.nodeid} did not run in its sandbox: its protocol was run by {who}"
        caught_warnings.tell(item, msg)

    def runtestprotocol(
        self,
        item: pytest.Item,
        log: bool = True,  # noqa: FBT001, FBT002  # as pytest's
        nextitem: pytest.Item | None = None,
    ) -> list[pytest.TestReport]:
        """Run the protocol of *item* in a sandbox, and return the reports of its phases.

        It stands in for pytest's function of that name, for those who call that.
        """
        self._last = item
        # A session within a test of pytest's own kind may do without this plugin.
        policy = policy_of(item) if item.config is self._config else None
        if policy is None or _goes_without(policy):
            return _compat.runtestprotocol(item, log=log, nextitem=nextitem)
        self.integrations.begins(item)
        replay = self._replay(item, policy, nextitem, log=log and not self.integrations.rerun)
        self._warnings += replay.warnings
        replay.finish()
        if self.integrations.rerun:
            self.integrations.judge(item, replay.reports, log=log)
        return replay.reports

    def hooks(self) -> Hooks:
        """Return the hooks in which other plugins may note something of a test."""
        self._look_at_plugins()
        return self._hooks

    def reporters(self, session: pytest.Session) -> _compat.Unhooking:
        """Return how reporters leave their hooks in a test process."""
        self._look_at_plugins()
        if self._reporters is None:
            self._reporters = _compat.without_reporters(self._config, (self.forwarder, session))
        return self._reporters

    def _look_at_plugins(self) -> None:
        """See whether there are other plugins than last time."""
        plugins = _compat.number_of_plugins(self._config)
        if plugins != self._plugins:
            self._plugins, self._hooks = plugins, find_hooks(self._config)
            self._reporters = None

    def take_timer(self, item: pytest.Item, policy: Policy, settings: TimerSettings) -> bool | None:
        """Take over the limit that pytest-timeout would set a timer for, as its hook.

        In a test process it is one for the test's function alone, and stays with pytest-timeout.
        """
        if self.forwarder.sender is not None or _goes_without(policy):
            return None
        if not self.interaction.debugger:
            take_limit(item, settings)
        return True

    def summarize(self, reporter: pytest.TerminalReporter) -> None:
        """Show at the session's end what was asked for, from the reports of all processes."""
        inspection.summarize(reporter)
        number = run_policy(self._config).top
        if number is not None:
            reports = (report for reports in reporter.stats.values() for report in reports)
            largest = top.largest(top.usages(reports), number)
            if largest:
                reporter.section(top.title(number))
                for usage in largest:
                    reporter.line(usage.line())

    def _replay(
        self, item: pytest.Item, policy: Policy, nextitem: pytest.Item | None, *, log: bool
    ) -> Replay:
        """Run *item* in its sandbox, up to its last report."""
        replay = Replay(item=item, integrations=self.integrations, log=log)
        outcome: Outcome
        usage = Usage(wall_seconds=0.0)
        resolution = self.sandboxes.resolve(policy)
        match resolution:
            case Resolved(spec):
                usage = dataclasses.replace(usage, memory_cap=spec.memory_cap)
                try:
                    with self.sandboxes.acquire(spec) as sandbox:
                        end = _run(self, policy, sandbox, replay, nextitem)
                except SandboxError as error:
                    outcome = _refuse(replay, error, policy)
                else:
                    outcome, usage = end.outcome, end.usage
            case Unavailable(error):
                outcome = _refuse(replay, error, policy)
            case _:
                assert_never(resolution)
        replay.close(nextitem, usage)
        item.ihook.pytest_isolate_finished(item=item, outcome=outcome, usage=usage)
        return replay


def _goes_without(policy: Policy) -> bool:
    """Return whether there is no system for sandboxes, and the user takes the test without one."""
    return sys.platform != "linux" and policy.unavailable is Recourse.DEGRADE


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
    runner: Runner, policy: Policy, sandbox: Sandbox, replay: Replay, nextitem: pytest.Item | None
) -> execution.End:
    """Run the item of *replay* in *sandbox*, and judge how it ended."""
    item, config = replay.item, replay.item.config
    interaction = runner.interaction
    with ExitStack() as stack:
        cap = sandbox.spec.memory_cap
        output = stack.enter_context(closing(Output(config, cap=cap)))
        stacks = interrupts.own(stack, os.memfd_create("isolate-stacks", os.MFD_CLOEXEC))
        gate = interrupts.gate(stack, replay) if interaction.live else -1
        connection = debugger.connect(stack)
        watchdog = watchdogs.pause(stack, _compat.capture_files(config).values())
        presses = Interrupts(shared=interaction.debugger)
        presses.attend(stack)
        capabilities = runner.sandboxes.capabilities
        replay.obstacles = Obstacles.of(sandbox.notes, capabilities, sandbox.spec.project)
        replay.debugged = lambda on: presses.debug(on=on)
        replay.attended = interaction.attended
        doors = Doors()
        job = program.Job(
            stacks=stacks,
            gate=gate,
            debugger=connection,
            integrations=runner.integrations,
            random_state=random.getstate(),
            release_interrupts=presses.release,
            watchdog=watchdog,
            executors=executors.in_use(),
            threads=runner.new_threads(),
            leaks=policy.report_leaks is not Leaks.OFF,
            denials=Denials(writable=sandbox.spec.writable) if sandbox.spec.landlock else None,
            directories=runner.sandboxes.directories,
            reporters=runner.reporters(item.session),
            hooks=runner.hooks(),
            doors=doors,
        )
        entry = Entry(
            cwd=_working_directory(config),
            env=dict(policy.env),
            pass_env=policy.kept,
            keep_fds=(
                *_compat.inherited_fds(config),
                *output.fds,
                *watchdog.fds,
                stacks,
                gate,
                job.directories,
                *([connection.fd] if connection is not None else []),
            ),
            new_session=not interaction.debugger,
            preload=needed_libraries() if isinstance(sandbox.spec.root, DirectoryRoot) else (),
            reopens=True,
            covered=doors.covered,
        )
        timeout = policy.timeout if policy.asked("timeout") else limit(item)
        if connection is not None:
            timeout = None  # somebody may be looking at it
        shells = Shells(item, sandbox, entry, presses, timeout=timeout)
        if interaction.shells:
            replay.failed = shells.open_for_report
        line = memory_plot.wanted(config, sandbox.alarm)
        house = output.keep_house
        _compat.flush_streams(config)
        last_words = _last_words(stacks)
        # Before the fork, and not while the test runs: until the process ends, every page that is
        # written to here is copied.
        runner.sandboxes.foresee(nextitem)
        end = execution.run(
            sandbox,
            entry,
            partial(program.run, item, runner.forwarder, output, job),
            timeout=timeout,
            clock=presses.clock,
            on_frame=replay.hear,
            on_start=presses.aim,
            on_timeout=shells.open_for_timeout if interaction.shells else lambda: None,
            chore=watchdog.between(house if line is None else line.between(house)),
            live=gate >= 0,
            last_words=last_words,
        )
        end = dataclasses.replace(end, usage=dataclasses.replace(end.usage, memory_cap=cap))
        replay.judge(
            end,
            output=output.read(),
            stacks=last_words.text(at_most=_STACKS_LIMIT).decode(errors="replace")
            or watchdog.text(),
            timeline=line,
        )
        inspection.inspect(sandbox, policy, replay)
    return end


def _last_words(stacks: int) -> LastWords:
    """Return how a test process is asked for its threads' stacks, in the file *stacks*."""
    frame = sys._getframe()  # noqa: SLF001  # there is no other way to it
    while frame.f_back is not None:
        frame = frame.f_back
    # The main thread comes last, down to this frame or to as many as faulthandler shows.
    ends = (f" in {frame.f_code.co_name}\n".encode(errors="backslashreplace"), b"\n  ...\n")
    return LastWords(
        number=program.STACKS_SIGNAL, alone=program.STACK_SIGNAL, file=stacks, ends=ends
    )


def _working_directory(config: pytest.Config) -> str:
    try:
        return os.getcwd()  # noqa: PTH109  # a string is wanted
    except FileNotFoundError:  # a test that is not isolated has removed it
        return os.fspath(config.rootpath)
