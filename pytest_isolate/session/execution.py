"""One test's process in one sandbox: what it is given, and its run."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property
from functools import partial
import os
import random
from typing import TYPE_CHECKING
from typing import final

from pytest_isolate._compat import capture
from pytest_isolate.child import executors
from pytest_isolate.child import program
from pytest_isolate.child.denials import Denials
from pytest_isolate.child.doors import Doors
from pytest_isolate.integrations import debugger
from pytest_isolate.integrations.registry import limit
from pytest_isolate.policy.settings import Leaks
from pytest_isolate.reporting import memory_plot
from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.rootfs.interpreter import needed_libraries
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.supervise import execution as supervised
from pytest_isolate.session.audience import Audience
from pytest_isolate.session.capture import capturing
from pytest_isolate.session.gate import making_gate
from pytest_isolate.session.interrupts import Interrupts
from pytest_isolate.session.shell import Shells
from pytest_isolate.session.verdict import Remains

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    import pytest

    from pytest_isolate.integrations.debugger import Connection
    from pytest_isolate.policy.model import Policy
    from pytest_isolate.reporting.memory_plot import Timeline
    from pytest_isolate.sandbox.handle import Sandbox
    from pytest_isolate.sandbox.supervise.execution import End
    from pytest_isolate.session.capture import Capture
    from pytest_isolate.session.gate import Gate
    from pytest_isolate.session.interaction import Interaction
    from pytest_isolate.session.surroundings import Surroundings
    from pytest_isolate.wire.frames import Frame


@final
@dataclass(frozen=True, kw_only=True)
class Execution:
    """The process of *item* in *sandbox*, with what is open here for it: see `executing`."""

    item: pytest.Item
    policy: Policy
    sandbox: Sandbox
    surroundings: Surroundings
    interaction: Interaction
    directories: int
    capture: Capture
    gate: Gate
    connection: Connection | None
    interrupts: Interrupts
    doors: Doors = field(default_factory=Doors)

    @property
    def audience(self) -> Audience:
        """Who is to be told of the test while it runs."""
        return Audience(
            attended=self.interaction.attended,
            shown=self.gate.open,
            failed=self._shells.open_for_report if self.interaction.shells else lambda _: None,
            debugger_opened=self.interrupts.debugger_opened,
            debugger_closed=self.interrupts.debugger_closed,
        )

    def run(self, hear: Callable[[Frame], None]) -> End:
        """Run the test; *hear* is told what its process says."""
        capture.flush_streams(self.item.config)
        chore, line = self.capture.chore, self._timeline
        # Nothing is prepared while it runs: until its process ends, every page that is written to
        # here is copied.
        return supervised.run(
            self.sandbox,
            self._entry,
            partial(
                program.run,
                self.item,
                self.surroundings.forwarder,
                self.capture.output,
                self._job(),
            ),
            timeout=self._timeout,
            clock=self.interrupts.clock,
            on_frame=hear,
            on_start=self.interrupts.aim,
            on_timeout=self._shells.open_for_timeout if self.interaction.shells else lambda: None,
            chore=chore if line is None else line.between(chore),
            live=self.gate.fd >= 0,
            last_words=self.capture.last_words,
        )

    def remains(self) -> Remains:
        """Return what the process has left, when it is over."""
        return Remains(
            output=self.capture.said(),
            stacks=self.capture.stacks_text(),
            timeline=self._timeline,
        )

    @cached_property
    def _timeline(self) -> Timeline | None:
        return memory_plot.wanted(self.item.config, self.sandbox.notifier)

    @property
    def _timeout(self) -> float | None:
        """The test's limit in seconds; there is none where somebody may be looking at it."""
        if self.connection is not None:
            return None
        return self.policy.timeout if self.policy.asked("timeout") else limit(self.item)

    @cached_property
    def _shells(self) -> Shells:
        return Shells(self.item, self.sandbox, self._entry, self.interrupts, timeout=self._timeout)

    @cached_property
    def _entry(self) -> Entry:
        spec, connection = self.sandbox.spec, self.connection
        return Entry(
            cwd=_working_directory(self.item.config),
            env=dict(self.policy.env),
            pass_env=self.policy.kept,
            keep_fds=(
                *capture.inherited_fds(self.item.config),
                *self.capture.fds,
                self.gate.fd,
                self.directories,
                *([connection.fd] if connection is not None else []),
            ),
            new_session=not self.interaction.debugger,
            preload=needed_libraries() if isinstance(spec.root, DirectoryRoot) else (),
            reopens=True,
            covered=self.doors.covered,
        )

    def _job(self) -> program.Job:
        spec, surroundings = self.sandbox.spec, self.surroundings
        return program.Job(
            stacks=self.capture.stacks,
            gate=self.gate.fd,
            debugger=self.connection,
            integrations=surroundings.integrations,
            random_state=random.getstate(),
            release_interrupts=self.interrupts.release,
            watchdog=self.capture.watchdog,
            executors=executors.in_use(),
            threads=surroundings.new_threads(),
            leaks=self.policy.report_leaks is not Leaks.OFF,
            denials=Denials(writable=spec.writable) if spec.landlock else None,
            directories=self.directories,
            reporters=surroundings.reporters(self.item.session),
            hooks=surroundings.hooks(),
            doors=self.doors,
        )


@contextmanager
def executing(
    item: pytest.Item,
    policy: Policy,
    sandbox: Sandbox,
    *,
    surroundings: Surroundings,
    interaction: Interaction,
    directories: int,
) -> Iterator[Execution]:
    """Open what a process of *item* needs of this one, which may be at the terminal with it.

    *directories* is a descriptor for its notes on directories, or -1.
    """
    config = item.config
    with (
        capturing(config, cap=sandbox.spec.memory_cap) as capture,
        making_gate(config, live=interaction.live) as gate,
        debugger.connected() as connection,
        Interrupts(shared=interaction.debugger) as interrupts,
    ):
        yield Execution(
            item=item,
            policy=policy,
            sandbox=sandbox,
            surroundings=surroundings,
            interaction=interaction,
            directories=directories,
            capture=capture,
            gate=gate,
            connection=connection,
            interrupts=interrupts,
        )


def _working_directory(config: pytest.Config) -> str:
    try:
        return os.getcwd()  # noqa: PTH109  # a string is wanted
    except FileNotFoundError:  # a test that is not isolated has removed it
        return os.fspath(config.rootpath)
