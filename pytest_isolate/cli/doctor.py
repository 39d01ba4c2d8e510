"""`doctor`: what this machine gives, tried for real, and the fix for what is missing."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING
from typing import Final
from typing import assert_never

from pytest_isolate.cli.streams import complain
from pytest_isolate.cli.streams import say
from pytest_isolate.policy.model import Policy
from pytest_isolate.policy.resolution import Resolved
from pytest_isolate.policy.resolution import Unavailable
from pytest_isolate.policy.resolution import resolve
from pytest_isolate.policy.sizes import format_size
from pytest_isolate.reporting.failures import death_of
from pytest_isolate.reporting.feature_table import rows
from pytest_isolate.sandbox.errors import KeeperError
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.features import Capabilities
from pytest_isolate.sandbox.features import Capability
from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.outcome import OutOfMemory
from pytest_isolate.sandbox.pool import Pool
from pytest_isolate.sandbox.remedies import Signs
from pytest_isolate.sandbox.spec import Limits
from pytest_isolate.sandbox.supervise import execution

if TYPE_CHECKING:
    from argparse import Namespace
    from argparse import _SubParsersAction
    from collections.abc import Callable

    from pytest_isolate.sandbox.launch.given import Given
    from pytest_isolate.sandbox.spec import Spec
    from pytest_isolate.wire.channel import Writer

_CAP: Final = 4 << 20  #: bytes, of the trial that is to be killed for it
_TOO_MUCH: Final = 64 << 20
_LIMIT_SECONDS: Final = 20.0


def register(commands: _SubParsersAction) -> None:  # type: ignore[type-arg]  # argparse's own gap
    """Add the subcommand."""
    parser = commands.add_parser(
        "doctor",
        help="say what this machine can give, what is missing and what to do about it",
        description="Exits with 1 if the default sandbox with its memory cap cannot be had.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.set_defaults(call=_doctor)


def _doctor(options: Namespace, given: Given) -> int:
    given.let_go()
    environment = Signs.read().environment()
    try:
        capabilities = examine()
    except KeeperError as error:
        complain(f"pytest_isolate: {error}")
        return 1
    except OSError as error:  # as without a descriptor to spare
        complain(f"pytest_isolate: {SandboxError.from_os_error(error)}")
        return 1
    sound = capabilities["sandbox"].available and capabilities["memory"].available
    if options.json:
        entries = [
            {"state": entry.state, "errno": entry.errno_name, **dataclasses.asdict(entry)}
            for entry in capabilities.values()
        ]
        data = {"environment": environment, "sound": sound, "capabilities": entries}
        text = json.dumps(data, indent=2)
    else:
        table = "\n".join(rows(capabilities.values()))
        text = f"environment: {environment}\n\n{table}\n\n{_verdict(sound=sound)}"
    return say(f"{text}\n", 0 if sound else 1)


def _verdict(*, sound: bool) -> str:
    if sound:
        return "The default sandbox, its memory cap included, can be had here."
    return "The default sandbox with its memory cap cannot be had here."


def examine() -> Capabilities:
    """Try everything, up to a whole sandbox and a kill for memory. Raises KeeperError."""
    pool = Pool.start()
    try:
        found = pool.capabilities
        resolution = resolve(Policy(enabled=True), found)
        match resolution:
            case Resolved(spec):
                error = _try_sandbox(pool, spec)
            case Unavailable(error=error):
                pass
            case _:
                assert_never(resolution)
        entries = {"sandbox": _sandbox(error), **found}
        if isinstance(resolution, Resolved) and error is None and entries["memory"].available:
            entries["memory"] = _try_cap(pool, resolution.spec, entries["memory"])
    finally:
        pool.close()
    return Capabilities(*entries.values())


def _sandbox(error: SandboxError | None) -> Capability:
    if error is None:
        return Capability(name="sandbox", available=True, how="a process has run in it")
    why = f"{error.what}: {error.why}"
    return Capability(name="sandbox", available=False, why=why, fix=error.fix, code=error.code)


def _try_sandbox(pool: Pool, spec: Spec) -> SandboxError | None:
    """Run a process in the sandbox of *spec*; return what stopped it."""
    try:
        end = _run(pool, spec, lambda _: None)
    except SandboxError as error:
        return error
    death = death_of(end.outcome, complete=end.said_bye)
    return None if death is None else SandboxError("run a process in it", death.line, death.fix)


def _try_cap(pool: Pool, spec: Spec, memory: Capability) -> Capability:
    """Return *memory* by what became of a process that took more than its cap."""
    small = dataclasses.replace(spec, limits=Limits(memory=_CAP))
    try:
        end = _run(pool, small, lambda _: _use(_TOO_MUCH))
    except SandboxError as error:
        why = f"{error.what}: {error.why}"
        return dataclasses.replace(memory, available=False, why=why, fix=error.fix, code=error.code)
    if isinstance(end.outcome, OutOfMemory):
        how = f"{memory.how}; a process over a cap of {format_size(_CAP)} was killed"
        return dataclasses.replace(memory, how=how)
    death = death_of(end.outcome, complete=end.said_bye)
    became = death.line if death is not None else "it was left alive"
    why = f"a process over a cap of {format_size(_CAP)} was not killed for it: {became}"
    return dataclasses.replace(memory, available=False, why=why)


def _run(pool: Pool, spec: Spec, main: Callable[[Writer], None]) -> execution.End:
    sandbox = pool.acquire(spec)
    try:
        return execution.run(sandbox, Entry(cwd="/"), main, timeout=_LIMIT_SECONDS)
    finally:
        sandbox.retire()


def _use(size: int) -> None:
    """Touch *size* bytes of memory."""
    data = bytearray(size)
    data[:: 1 << 12] = b"\1" * len(range(0, size, 1 << 12))
