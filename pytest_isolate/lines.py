"""The lines that name how a test or command ended: the contract's words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import assert_never

from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.outcome import OutOfMemory
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import Signaled
from pytest_isolate.sandbox.outcome import TimedOut
from pytest_isolate.sizes import format_size

if TYPE_CHECKING:
    from pytest_isolate.sandbox.errors import KeeperError
    from pytest_isolate.sandbox.errors import SandboxError
    from pytest_isolate.sandbox.outcome import Outcome


def of(outcome: Outcome) -> str:
    """Return the one line that says how it ended; for `Exited`, that it was too early."""
    match outcome:
        case OutOfMemory():
            return _out_of_memory(outcome)
        case TimedOut(limit=limit):
            return f"Timed out: exceeded its limit of {limit:g} s"
        case Signaled():
            return f"Crashed: killed by {outcome.name}"
        case Exited(status=status):
            return f"Exited: left with status {status} before its report"
        case SetupFailed(error=error):
            return isolation_failed(error)
        case _:
            assert_never(outcome)


def isolation_failed(error: SandboxError | KeeperError) -> str:
    """Return the line of a sandbox that could not be had."""
    return f"Isolation failed: {error}"


def name(outcome: Outcome, *, finished: bool) -> str:
    """Return the value of the property `isolate.outcome`."""
    match outcome:
        case OutOfMemory():
            return "oom"
        case TimedOut():
            return "timeout"
        case Signaled():
            return f"signal {outcome.name}"
        case Exited(status=status):
            return "finished" if finished else f"exit {status}"
        case SetupFailed():
            return "isolation"
        case _:
            assert_never(outcome)


def _out_of_memory(outcome: OutOfMemory) -> str:
    peak = "" if outcome.peak is None else f" (peak {format_size(outcome.peak)})"
    if outcome.cap is None:
        return f"OOM killed: an outer memory limit, or the machine's memory, ran out{peak}"
    cap = format_size(outcome.cap)
    if outcome.outer:
        return (
            "OOM killed: an outer memory limit, or the machine's memory, ran out below"
            f" its cap of {cap}{peak}"
        )
    return f"OOM killed: exceeded its memory cap of {cap}{peak}"
