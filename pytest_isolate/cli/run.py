"""`run`: one command in one sandbox, the exercise's own command line.

Exits with the command's status, or 128+N if signal N killed it; 137 for an OOM kill, 124 for the
time limit, 125 where the sandbox failed, 126 for a command that cannot be executed, 127 for one
that is not found: as `timeout`, `env` and `docker run` do.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
import signal
import tempfile
from typing import TYPE_CHECKING
from typing import Final
from typing import NamedTuple
from typing import assert_never
from typing import final

from pytest_isolate.cli.passing import Passing
from pytest_isolate.cli.streams import complain
from pytest_isolate.policy.model import Origin
from pytest_isolate.policy.model import Policy
from pytest_isolate.policy.model import PolicyError
from pytest_isolate.policy.model import Source
from pytest_isolate.policy.resolution import Resolved
from pytest_isolate.policy.resolution import Unavailable
from pytest_isolate.policy.resolution import resolve
from pytest_isolate.policy.settings import SETTINGS
from pytest_isolate.policy.settings import Shape
from pytest_isolate.reporting.failures import death_of
from pytest_isolate.reporting.failures import isolation_failed
from pytest_isolate.sandbox.errors import KeeperError
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.launch.given import forget_coercion
from pytest_isolate.sandbox.linux import terminal
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.outcome import MemoryExceeded
from pytest_isolate.sandbox.outcome import OutOfMemory
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import Signaled
from pytest_isolate.sandbox.outcome import TimedOut
from pytest_isolate.sandbox.pool import Pool
from pytest_isolate.sandbox.rootfs import interpreter
from pytest_isolate.sandbox.spec import HostRoot
from pytest_isolate.sandbox.supervise import execution
from pytest_isolate.wire.frames import Event
from pytest_isolate.wire.frames import Frame

if TYPE_CHECKING:
    from pytest_isolate.sandbox.launch.given import Given
    from pytest_isolate.sandbox.outcome import Outcome
    from pytest_isolate.sandbox.spec import Spec
    from pytest_isolate.wire.channel import Writer

USAGE: Final = 2
TIMED_OUT: Final = 124
SANDBOX_FAILED: Final = 125
NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
_SIGNALED: Final = 128
#: Of the table of settings, those that make no sense for a single command.
_NOT_HERE: Final = frozenset({"enabled", "keep", "keep_dir", "report_leaks", "top", "unavailable"})


@final
class _End(NamedTuple):
    """How it ended, and what there is to say about it."""

    status: int
    line: str = ""
    interrupted: bool = False


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


def _run(options: argparse.Namespace, given: Given) -> int:
    forget_coercion()
    end = _attempt(options, given)
    if end.line:
        complain(end.line)
    if end.interrupted:
        # A shell ends its loop or script only if it sees a process die of it.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    return end.status


def _attempt(options: argparse.Namespace, given: Given) -> _End:
    """Run the command; whatever fails is said in one line."""
    end = _End(SANDBOX_FAILED)
    try:
        policy = _policy(options)
        pool = Pool.start()
        try:
            end = _run_in(pool, policy, [options.command, *options.arguments], given)
        finally:
            pool.close()
    except PolicyError as error:
        parser: argparse.ArgumentParser = options.parser
        parser.error(str(error))
    except KeeperError as error:
        return end if end.line else _failed(error)
    except SandboxError as error:
        return _End(SANDBOX_FAILED, isolation_failed(error).text)
    except OSError as error:  # as without a descriptor to spare
        return _failed(SandboxError.from_os_error(error))
    return end


def _failed(error: SandboxError | KeeperError) -> _End:
    return _End(SANDBOX_FAILED, f"Isolation failed: {error}")


def _policy(options: argparse.Namespace) -> Policy:
    """Return what the options ask for; nobody is there to be told of a default cap that is lost."""
    names = (setting.name for setting in SETTINGS if setting.name not in _NOT_HERE)
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    plain = Policy(enabled=True, memory=None, pids=None)
    return plain.override(Origin(Source.RUN), given, _here())


def _here() -> str:
    try:
        return os.fspath(Path.cwd())
    except FileNotFoundError:
        what, why = "find the current directory", "it was removed; change to one that is there"
        raise SandboxError(what, why) from None


def _run_in(pool: Pool, policy: Policy, command: list[str], given: Given) -> _End:
    resolution = resolve(policy, pool.capabilities)
    match resolution:
        case Resolved(spec=spec):
            return _supervise(pool, spec, policy, command, given)
        case Unavailable(error=error):
            raise error
        case _:
            assert_never(resolution)


def _supervise(pool: Pool, spec: Spec, policy: Policy, command: list[str], given: Given) -> _End:
    from_host = isinstance(spec.root, HostRoot)
    failures: list[OSError] = []

    def hear(frame: Frame) -> None:
        if isinstance(frame, Event):
            failures.append(OSError(frame.data["errno"], frame.data["strerror"]))

    sandbox = pool.acquire(_with_interpreter(spec) if from_host else spec)
    try:
        with Passing(given) as passing:
            entry = Entry(
                cwd=_here() if from_host else "/",
                env=dict(policy.env),
                pass_env=policy.kept,
                keep_fds=given.fds,
                new_session=False,
                new_group=passing.terminal < 0,
                attended=True,
                terminal=passing.terminal,
            )
            end = execution.run(
                sandbox,
                entry,
                lambda writer: _become(command, given, writer),
                timeout=policy.timeout,
                on_frame=hear,
                on_start=passing.start,
            )
            passing.settle_terminal(in_order=isinstance(end.outcome, Exited))
    finally:
        sandbox.retire()
    if failures:
        missing = isinstance(failures[0], FileNotFoundError)
        line = f"pytest_isolate: {command[0]}: {failures[0].strerror}"
        return _End(NOT_FOUND if missing else NOT_EXECUTABLE, line)
    return _end_of(end.outcome, is_interrupted=passing.is_interrupted)


def _end_of(outcome: Outcome, *, is_interrupted: bool) -> _End:
    death = death_of(outcome, complete=False)
    line = death.text if death else ""
    match outcome:
        case Exited(status=status):
            return _End(status)
        case Signaled(number=number):
            interrupted = is_interrupted and number == signal.SIGINT
            return _End(_SIGNALED + number, interrupted=interrupted)
        case OutOfMemory() | MemoryExceeded():
            return _End(_SIGNALED + signal.SIGKILL, line)
        case TimedOut():
            return _End(TIMED_OUT, line)
        case SetupFailed():
            return _End(SANDBOX_FAILED, line)
        case _:
            assert_never(outcome)


def _become(command: list[str], given: Given, writer: Writer) -> None:
    """Be *command*, from inside the sandbox; its end is the process's end."""
    given.set_environment()
    failure = terminal.become([command], given.mask)
    writer.send(Event("exec", {"errno": failure.errno, "strerror": failure.strerror}))


def _with_interpreter(spec: Spec) -> Spec:
    """Return *spec* with what may lie under a fresh /tmp: the project and its environment."""
    return dataclasses.replace(
        spec,
        project=(_here(),),
        imports=interpreter.interpreter_paths(),
        scratch=(tempfile.gettempdir(),),
    )
