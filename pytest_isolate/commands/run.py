"""`run`: one command in one sandbox, the exercise's own command line.

Exits with the command's status, or 128+N if signal N killed it; 137 for an OOM kill, 124 for the
time limit, 125 where the sandbox failed, 126 for a command that cannot be executed, 127 for one
that is not found: as `timeout`, `env` and `docker run` do.
"""

from __future__ import annotations

import argparse
from contextlib import contextmanager
from contextlib import suppress
import dataclasses
import os
from pathlib import Path
import signal
import sys
import tempfile
from typing import TYPE_CHECKING
from typing import Final
from typing import assert_never

from pytest_isolate.deaths import death_of
from pytest_isolate.deaths import isolation_failed
from pytest_isolate.policy import Origin
from pytest_isolate.policy import Policy
from pytest_isolate.policy import PolicyError
from pytest_isolate.policy import Source
from pytest_isolate.resolution import Resolved
from pytest_isolate.resolution import Unavailable
from pytest_isolate.resolution import resolve
from pytest_isolate.sandbox import interpreter
from pytest_isolate.sandbox import supervisor
from pytest_isolate.sandbox import terminal
from pytest_isolate.sandbox.entry import Entry
from pytest_isolate.sandbox.errors import KeeperError
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.outcome import MemoryExceeded
from pytest_isolate.sandbox.outcome import OutOfMemory
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import Signaled
from pytest_isolate.sandbox.outcome import TimedOut
from pytest_isolate.sandbox.pool import Pool
from pytest_isolate.sandbox.spec import HostRoot
from pytest_isolate.settings import SETTINGS
from pytest_isolate.settings import Shape
from pytest_isolate.wire.frames import Event
from pytest_isolate.wire.frames import Frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from pytest_isolate.sandbox.outcome import Outcome
    from pytest_isolate.sandbox.spec import Spec
    from pytest_isolate.wire.channel import Writer

USAGE: Final = 2
TIMED_OUT: Final = 124
SANDBOX_FAILED: Final = 125
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
_SIGNALED: Final = 128
_PASSED_ON: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Of the table of settings, those that make no sense for a single command.
_NOT_HERE: Final = frozenset({"enabled", "keep", "keep_dir", "report_leaks", "top", "unavailable"})


def register(commands: argparse._SubParsersAction) -> None:  # type: ignore[type-arg]  # argparse's own gap
    """Add the subcommand."""
    parser = commands.add_parser(
        "run",
        help="run a command in its own container",
        usage="python -m pytest_isolate run [OPTIONS] -- CMD [ARGS...]",
        allow_abbrev=False,
    )
    for setting in SETTINGS:
        if setting.name not in _NOT_HERE:
            parser.add_argument(
                f"--{setting.name.replace('_', '-')}",
                dest=setting.name,
                metavar="NAME=VALUE" if setting.name == "env" else setting.form,
                action="append" if setting.shape is Shape.LIST else "store",
                help=setting.help,
            )
    parser.add_argument("command", metavar="CMD", help="the command")
    parser.add_argument(
        "arguments", metavar="ARGS", nargs=argparse.REMAINDER, help="all that follows is its own"
    )
    parser.set_defaults(call=_run, parser=parser)


def _run(options: argparse.Namespace) -> int:
    try:
        policy = _policy(options)
    except PolicyError as error:
        parser: argparse.ArgumentParser = options.parser
        parser.error(str(error))
    try:
        pool = Pool.start()
    except KeeperError as error:
        return _say(f"Isolation failed: {error}", SANDBOX_FAILED)
    try:
        return _run_in(pool, policy, [options.command, *options.arguments])
    except SandboxError as error:
        return _say(isolation_failed(error).text, SANDBOX_FAILED)
    except KeeperError as error:
        return _say(f"Isolation failed: {error}", SANDBOX_FAILED)
    finally:
        pool.close()


def _policy(options: argparse.Namespace) -> Policy:
    """Return what the options ask for; nobody is there to be told of a default cap that is lost."""
    names = (setting.name for setting in SETTINGS if setting.name not in _NOT_HERE)
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    plain = Policy(enabled=True, memory=None, pids=None)
    return plain.override(Origin(Source.RUN), given, os.fspath(Path.cwd()))


def _run_in(pool: Pool, policy: Policy, command: list[str]) -> int:
    resolution = resolve(policy, pool.capabilities)
    match resolution:
        case Resolved(spec=spec):
            return _supervise(pool, spec, policy, command)
        case Unavailable(error=error):
            raise error
        case _:
            assert_never(resolution)


def _supervise(pool: Pool, spec: Spec, policy: Policy, command: list[str]) -> int:
    from_host = isinstance(spec.root, HostRoot)
    entry = Entry(
        cwd=os.fspath(Path.cwd()) if from_host else "/",
        env=dict(policy.env),
        pass_env=policy.kept,
        new_session=not terminal.is_there(),
    )
    failures: list[OSError] = []

    def hear(frame: Frame) -> None:
        if isinstance(frame, Event):
            failures.append(OSError(frame.data["errno"], frame.data["strerror"]))

    lease = pool.lease(_with_interpreter(spec) if from_host else spec)
    try:
        with terminal.lent(), _signals() as pass_on:
            end = supervisor.run(
                lease,
                entry,
                lambda writer: _become(command, writer),
                timeout=policy.timeout,
                on_frame=hear,
                on_start=pass_on,
            )
    finally:
        lease.retire()
    if failures:
        missing = isinstance(failures[0], FileNotFoundError)
        line = f"pytest_isolate: {command[0]}: {failures[0].strerror}"
        return _say(line, NOT_FOUND if missing else NOT_EXECUTABLE)
    return _status(end.outcome)


def _status(outcome: Outcome) -> int:
    death = death_of(outcome, complete=False)
    match outcome:
        case Exited(status=status):
            return status
        case Signaled(number=number):
            return _SIGNALED + number
        case OutOfMemory() | MemoryExceeded():
            return _say(death.text if death else "", _SIGNALED + signal.SIGKILL)
        case TimedOut():
            return _say(death.text if death else "", TIMED_OUT)
        case SetupFailed():
            return _say(death.text if death else "", SANDBOX_FAILED)
        case _:
            assert_never(outcome)


def _become(command: list[str], writer: Writer) -> None:
    """Be *command*, from inside the sandbox; its end is the process's end."""
    failure = terminal.become([command])
    writer.send(Event("exec", {"errno": failure.errno, "strerror": failure.strerror}))


def _with_interpreter(spec: Spec) -> Spec:
    """Return *spec* with what may lie under a fresh /tmp: the project and its environment."""
    return dataclasses.replace(
        spec,
        project=(os.fspath(Path.cwd()),),
        imports=interpreter.interpreter_paths(),
        scratch=(tempfile.gettempdir(),),
    )


@contextmanager
def _signals() -> Iterator[Callable[[int], None]]:
    """Pass signals on to the command, and yield what to tell its pid to."""
    target = 0

    def aim(pid: int) -> None:
        nonlocal target
        target = pid

    def pass_on(number: int, _frame: object) -> None:
        if target:
            with suppress(ProcessLookupError):
                os.kill(target, number)

    before = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    try:
        yield aim
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(line: str, status: int) -> int:
    sys.stderr.write(f"{line}\n")
    return status
