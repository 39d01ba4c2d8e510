"""How an isolated test ended, in the words that people and tools search for. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Final
from typing import assert_never

from pytest_isolate.policy.sizes import format_size
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.outcome import MemoryExceeded
from pytest_isolate.sandbox.outcome import OutOfMemory
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.outcome import Signaled
from pytest_isolate.sandbox.outcome import TimedOut
from pytest_isolate.sandbox.supervise.snapshot import SHARED

if TYPE_CHECKING:
    from pytest_isolate.sandbox.errors import SandboxError
    from pytest_isolate.sandbox.outcome import Outcome
    from pytest_isolate.sandbox.outcome import Usage
    from pytest_isolate.sandbox.supervise.snapshot import Large
    from pytest_isolate.sandbox.supervise.snapshot import ProcessInfo
    from pytest_isolate.sandbox.supervise.snapshot import Snapshot

_MOST_PROCESSES: Final = 20  #: in a report
_LONGEST_COMMAND: Final = 100  #: characters
_GONE: Final = "None is left: what did not fit is gone, or it is many small ones, or none at all."
_FILES_HINT: Final = (
    "What a test writes lies in memory, and a file of the host's is copied there as a whole before"
    "\nits text, mode, owner or name changes, or it is opened to be written. Ways out: a larger"
    "\n`memory`, or `writable` with its directory, which lets changes through to the host."
)
#: What `isolate.outcome` is for a test that said everything.
FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """An end that fails the test, whatever its reports say."""

    line: str
    word: str  #: the property `isolate.outcome`
    fix: str = ""
    ours: bool = False  #: the sandbox's failure and not the test's, so no xfail mark expects it

    @property
    def text(self) -> str:
        """The failure's text."""
        return f"{self.line}\n{self.fix}" if self.fix else self.line


def death_of(
    outcome: Outcome,
    *,
    complete: bool,
    trouble: SandboxError | None = None,
    exiting: bool = False,
) -> Death | None:
    """Return what failed the test, or `None` if *outcome* is that of a finished test.

    A *complete* test has sent all its reports and said goodbye: how its process left after that
    does not matter. *trouble* is what went wrong with the reports themselves, *exiting* whether all
    were sent and only Python's exit was left. Where several are true, the first of the table of
    lines is said.
    """
    match outcome:
        case OutOfMemory():
            return Death(line=f"OOM killed: {_oom(outcome)}", word="oom")
        case MemoryExceeded(cap, seen):
            sizes = f"{format_size(cap)} (seen {format_size(seen)})"
            return Death(line=f"Killed: watched memory exceeded its cap of {sizes}", word="memory")
        case SetupFailed(error):
            return isolation_failed(error)
        case TimedOut() | Signaled() | Exited():
            if complete and trouble is None:
                return None
            return _cut_short(outcome, trouble, "at its exit" if exiting else "before its report")
        case _:
            assert_never(outcome)


def _cut_short(
    outcome: TimedOut | Signaled | Exited, trouble: SandboxError | None, moment: str
) -> Death:
    match outcome:
        case TimedOut(limit):
            return Death(line=f"Timed out: exceeded its limit of {limit:g} s", word="timeout")
        case Signaled():
            name = outcome.name
            word = name if name.startswith("signal ") else f"signal {name}"
            return Death(line=f"Crashed: killed by {name}", word=word)
        case Exited() if trouble is not None:
            return isolation_failed(trouble)
        case Exited(status):
            line = f"Exited: left with status {status} {moment}"
            return Death(line=line, word=f"exit {status}")
        case _:
            assert_never(outcome)


def isolation_failed(error: SandboxError) -> Death:
    """Return the death of a test whose sandbox could not be had."""
    line = f"Isolation failed: {error.what}: {error.why}"
    return Death(line=line, word="isolation", fix=error.fix, ours=True)


def _oom(outcome: OutOfMemory) -> str:
    peak = "" if outcome.peak is None else f" (peak {format_size(outcome.peak)})"
    if outcome.cap is None:
        return f"a memory limit outside of its sandbox was reached{peak}"
    cap = format_size(outcome.cap)
    if outcome.outer:
        return f"a memory limit outside of its sandbox was reached, below its cap of {cap}{peak}"
    return f"exceeded its memory cap of {cap}{peak}"


def properties(usage: Usage, death: Death | None) -> list[tuple[str, object]]:
    """Return the figures as `user_properties`, those that this machine counts."""
    word = FINISHED if death is None else death.word
    figures: list[tuple[str, object]] = [
        ("isolate.outcome", word),
        ("isolate.memory_peak", usage.memory_peak),
        ("isolate.memory_cap", usage.memory_cap),
        ("isolate.cpu_seconds", _seconds(usage.cpu_seconds)),
        ("isolate.wall_seconds", _seconds(usage.wall_seconds)),
        ("isolate.processes", usage.processes),
    ]
    return [(name, value) for name, value in figures if value is not None]


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def figures(usage: Usage) -> str:
    """Return the figures for people, under a dead test's report."""
    lines = [f"wall time: {usage.wall_seconds:.2f} s"]
    if usage.cpu_seconds is not None:
        lines.append(f"CPU time: {usage.cpu_seconds:.2f} s")
    if usage.memory_peak is not None:
        of_cap = "" if usage.memory_cap is None else f" of {format_size(usage.memory_cap)}"
        lines.append(f"memory peak: {format_size(usage.memory_peak)}{of_cap}")
    if usage.processes is not None:
        lines.append(f"most processes and threads at once: {usage.processes}")
    return "\n".join(lines)


def memory_by_kind(snapshot: Snapshot) -> str:
    """Return the memory in use at the death by kind, a line each."""
    return "\n".join(f"{kind}: {format_size(size)}" for kind, size in snapshot.memory.items())


def processes(snapshot: Snapshot) -> str:
    """Return the processes that were alive at the death, as a table."""
    if not snapshot.processes:
        return ""
    shown = snapshot.processes[:_MOST_PROCESSES]
    rows = [("pid", "RSS", "PSS", "command")]
    rows += [
        (
            str(one.pid),
            format_size(one.rss),
            "?" if one.pss is None else format_size(one.pss),
            _command(one, _is_killed(one, snapshot)),
        )
        for one in shown
    ]
    widths = [max(map(len, column)) for column in list(zip(*rows, strict=True))[:3]]
    lines = [
        "  ".join([*(cell.rjust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    ]
    if more := len(snapshot.processes) - len(shown):
        lines.append(f"and {more} smaller ones")
    return "\n".join(lines)


def killed(snapshot: Snapshot) -> str:
    """Return whom the kernel killed for memory, a line each."""
    lines = [
        f"pid {one.pid} ({format_size(one.rss if one.pss is None else one.pss)}): "
        f"{_command(one, killed=False)}"
        for one in snapshot.killed
    ]
    if snapshot.killed and not any(one.is_main for one in snapshot.killed):
        lines.append("The test itself was not killed; it fails for that all the same.")
    return "\n".join(lines)


def _is_killed(one: ProcessInfo, snapshot: Snapshot) -> bool:
    return any(one.outer == other.outer for other in snapshot.killed)


def _command(one: ProcessInfo, killed: bool) -> str:  # noqa: FBT001
    text = one.command.replace("\n", "\\n")
    if len(text) > _LONGEST_COMMAND:
        text = f"{text[: _LONGEST_COMMAND - 3]}..."
    text = "the test" if one.is_main else text
    return f"{text}  <- killed by the kernel" if killed else text


def files(snapshot: Snapshot) -> str:
    """Return the largest files in memory, and what there is to do about them."""
    lines = [f"{format_size(one.size)}  {_shown(one)}" for one in snapshot.files]
    if not lines and 2 * snapshot.memory.get(SHARED, 0) > sum(snapshot.memory.values()):
        lines = [_GONE]
    if not lines:
        return ""
    return "\n".join((*lines, _FILES_HINT))


def _shown(one: Large) -> str:
    path = one.path.replace("\n", "\\n")
    if one.copying:
        return f"{path}  <- of the host, and was being copied"
    return f"{path}  <- copy of the host's" if one.of_host else path


def seen(snapshot: Snapshot, outcome: Outcome) -> list[tuple[str, str]]:
    """Return the sections of what was in the sandbox when it was about to end."""
    sections = [("Processes", processes(snapshot))]
    if isinstance(outcome, OutOfMemory):
        sections += [
            ("Killed for memory", killed(snapshot)),
            ("Memory by kind", memory_by_kind(snapshot)),
            ("Largest files in memory", files(snapshot)),
        ]
    return sections
