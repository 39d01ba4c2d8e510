"""The parent's half: an item's run in its sandbox, and what comes of it.

It is imported for the first isolated item: most of what it takes is not needed before.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from functools import partial
import sys
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import assert_never
from typing import final

from pytest_isolate._compat import phases
from pytest_isolate.integrations import debugger
from pytest_isolate.integrations import notices
from pytest_isolate.integrations.registry import take_limit
from pytest_isolate.options import distributes
from pytest_isolate.options import policy_of
from pytest_isolate.options import run_policy
from pytest_isolate.policy.resolution import Resolved
from pytest_isolate.policy.resolution import Unavailable
from pytest_isolate.policy.settings import Recourse
from pytest_isolate.reporting import top
from pytest_isolate.reporting.header import header
from pytest_isolate.reporting.header import requests
from pytest_isolate.sandbox.errors import KeeperError
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.launch import libraries
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import Usage
from pytest_isolate.session import inspection
from pytest_isolate.session import takeover
from pytest_isolate.session.interaction import Interaction
from pytest_isolate.session.obstacles import Obstacles
from pytest_isolate.session.obstacles import beyond
from pytest_isolate.session.provider import SandboxProvider
from pytest_isolate.session.replay import Replay
from pytest_isolate.session.surroundings import Surroundings
from pytest_isolate.transfer import caught_warnings

if sys.platform == "linux":
    from pytest_isolate.session.execution import executing
    from pytest_isolate.session.shell import check as check_shell

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    import pytest

    from pytest_isolate.integrations.registry import Integrations
    from pytest_isolate.integrations.registry import TimerSettings
    from pytest_isolate.policy.model import Policy
    from pytest_isolate.sandbox.handle import Sandbox
    from pytest_isolate.sandbox.outcome import Outcome
    from pytest_isolate.sandbox.spec import Spec
    from pytest_isolate.session.execution import Execution


@final
class Runner:
    """What one session has for its isolated items. Raises UsageError for what cannot be."""

    def __init__(self, config: pytest.Config) -> None:
        if sys.platform == "linux":
            check_shell(config)
            libraries.register()
        self.sandboxes = SandboxProvider(config)
        self._surroundings = Surroundings(config)
        self._config = config
        self._in_force = False
        self._last: pytest.Item | None = None
        self._warnings: list[dict[str, Any]] = []  #: of the running item
        config.add_cleanup(self.sandboxes.close)

    @property
    def integrations(self) -> Integrations:
        """The other plugins of the session."""
        return self._surroundings.integrations

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
                shortfalls = self.sandboxes.shortfalls(resolution.spec)
                return beyond(shortfalls, self.sandboxes.capabilities)
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
        self._surroundings.forget_threads()
        self.sandboxes.expect(items)

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
            return phases.runtestprotocol(item, log=log, nextitem=nextitem)
        self.integrations.begins(item)
        replay = self._replay(item, policy, nextitem, log=log and not self.integrations.rerun)
        self._warnings += replay.warnings
        replay.finish()
        if self.integrations.rerun:
            self.integrations.judge(item, replay.reports, log=log)
        return replay.reports

    def take_timer(self, item: pytest.Item, policy: Policy, settings: TimerSettings) -> bool | None:
        """Take over the limit that pytest-timeout would set a timer for, as its hook.

        In a test process it is one for the test's function alone, and stays with pytest-timeout.
        """
        if self._surroundings.forwarder.sender is not None or _goes_without(policy):
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
        begin = partial(Replay, item, self.integrations, log=log, since=time.time())
        resolution = self.sandboxes.resolve(policy)
        match resolution:
            case Resolved(spec):
                replay, outcome, usage = self._run(item, policy, spec, nextitem, begin=begin)
            case Unavailable(error):
                replay = begin()
                outcome, usage = _refuse(replay, policy, error), Usage(wall_seconds=0.0)
            case _:
                assert_never(resolution)
        replay.close(nextitem, usage)
        item.ihook.pytest_isolate_finished(item=item, outcome=outcome, usage=usage)
        return replay

    def _run(
        self,
        item: pytest.Item,
        policy: Policy,
        spec: Spec,
        nextitem: pytest.Item | None,
        *,
        begin: Callable[..., Replay],
    ) -> tuple[Replay, Outcome, Usage]:
        """Run *item* in a sandbox of *spec*, and judge how it ended."""
        replay = None
        try:
            with (
                self.sandboxes.acquire(spec) as sandbox,
                self._executing(item, policy, sandbox) as execution,
            ):
                obstacles = partial(self._obstacles, sandbox)
                replay = begin(audience=execution.audience, obstacles=obstacles)
                # Before the fork, and not while the test runs: see `Execution.run`.
                self.sandboxes.foresee(nextitem)
                end = execution.run(replay.hear)
                replay.judge(end, execution.remains())
                inspection.inspect(sandbox, policy, replay)
        except SandboxError as error:
            replay = replay or begin()
            outcome = _refuse(replay, policy, error)
            return replay, outcome, Usage(wall_seconds=0.0, memory_cap=spec.memory_cap)
        return replay, end.outcome, end.usage

    def _executing(
        self, item: pytest.Item, policy: Policy, sandbox: Sandbox
    ) -> AbstractContextManager[Execution]:
        return executing(
            item,
            policy,
            sandbox,
            surroundings=self._surroundings,
            interaction=self.interaction,
            directories=self.sandboxes.directories,
        )

    def _obstacles(self, sandbox: Sandbox) -> Obstacles:
        return Obstacles.of(sandbox.shortfalls, self.sandboxes.capabilities, sandbox.spec.project)


def _goes_without(policy: Policy) -> bool:
    """Return whether there is no system for sandboxes, and the user takes the test without one."""
    return sys.platform != "linux" and policy.unavailable is Recourse.DEGRADE


def _refuse(replay: Replay, policy: Policy, error: SandboxError) -> Outcome:
    replay.refuse(error, skip=policy.unavailable is Recourse.SKIP)
    return SetupFailed(error)
