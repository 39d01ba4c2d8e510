"""What is found when an isolated test is over: looked at only if that was asked for."""

from __future__ import annotations

from itertools import islice
import os
from pathlib import Path
import sys
import tempfile
from typing import TYPE_CHECKING
from typing import Final

import pytest

from pytest_isolate._compat import tmpdir
from pytest_isolate.policy.settings import Keep
from pytest_isolate.policy.settings import Leaks
from pytest_isolate.reporting.leaks import Left
from pytest_isolate.sandbox.linux import pidfds
from pytest_isolate.sandbox.supervise.changeset import Ignored
from pytest_isolate.sandbox.supervise.changeset import What
from pytest_isolate.sandbox.supervise.changeset import survey
from pytest_isolate.session import artifacts

if sys.platform == "linux":
    from pytest_isolate.sandbox.supervise import leftovers

if TYPE_CHECKING:
    from pytest_isolate.policy.model import Policy
    from pytest_isolate.sandbox.handle import Sandbox
    from pytest_isolate.sandbox.layers import Layers
    from pytest_isolate.sandbox.supervise.changeset import Change
    from pytest_isolate.session.replay import Replay

_run_key = pytest.StashKey[Path]()

_DYING_SECONDS: Final = 10.0  #: how long a killed sandbox may take to be gone
_MOST: Final = 100_000  #: changes of one test that are looked at
#: Directories, and ends of names, of caches: no test is to blame for them.
_CACHES: Final = frozenset({
    "__pycache__",
    ".hypothesis",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
})
_CACHED: Final = (".pyc", ".pyo")


def inspect(sandbox: Sandbox, policy: Policy, replay: Replay) -> None:
    """Look at what the test of *replay* has left in *sandbox*, which ends here."""
    if sandbox.layers is None:
        return
    reports = policy.report_leaks is not Leaks.OFF
    processes = leftovers.staying(sandbox.init) if reports else ()
    _end(sandbox)
    changes = _changes(sandbox.layers, replay.item.config)
    if reports:
        left = Left(processes=processes, threads=replay.threads, changes=changes)
        if left and policy.report_leaks is Leaks.FAIL:
            replay.blame("\n".join([f"Left behind: {left.summary()}", *left.lines()]))
        elif left:
            replay.left = [left.summary(), *left.lines()]
    if policy.keep is Keep.ALL or (policy.keep is Keep.FAILED and replay.has_failed):
        replay.note("Kept files", _keep(sandbox.layers, changes, policy, replay.item))


def _end(sandbox: Sandbox) -> None:
    """Kill the sandbox and wait for it: what is looked at is not to change meanwhile."""
    sandbox.kill()
    pidfds.has_ended(sandbox.init, _DYING_SECONDS)


def _changes(layers: Layers, config: pytest.Config) -> list[Change]:
    ignored = Ignored(below=tmpdir.temporary_places(config), directories=_CACHES, suffixes=_CACHED)
    changes = list(islice(survey(layers, ignored), _MOST))
    moved = {one.source for one in changes if one.what is What.MOVED}
    kept = [one for one in changes if one.what is not What.DELETED or one.path not in moved]
    return sorted(kept, key=lambda one: one.path)


def _keep(layers: Layers, changes: list[Change], policy: Policy, item: pytest.Item) -> str:
    try:
        top = Path(policy.keep_dir) if policy.keep_dir else _run_directory(item.config)
        place = top / artifacts.place_of(item.nodeid)
        return artifacts.keep(layers, changes, place).text(changes)
    except OSError as error:
        return f"not kept: {error}"


def _run_directory(config: pytest.Config) -> Path:
    """Return the directory of this run, the same for all workers of pytest-xdist."""
    if _run_key not in config.stash:
        top = Path(tempfile.gettempdir(), f"isolate-kept-of-{tmpdir.user_name()}")
        shared = getattr(config, "workerinput", {}).get("testrunuid")
        config.stash[_run_key] = artifacts.run_directory(top, f"run-{shared or os.getpid()}")
    return config.stash[_run_key]


def summarize(reporter: pytest.TerminalReporter) -> None:
    """Show what the tests have left behind, as their reports tell it."""
    reports = [report for reports in reporter.stats.values() for report in reports]
    told = [(report.nodeid, left) for report in reports if (left := _left(report))]
    if told:
        reporter.section("left behind by tests")
        for nodeid, (summary, *lines) in told:
            reporter.line(f"{nodeid}: {summary}")
            for line in lines:
                reporter.line(f"  {line}")


def _left(report: object) -> list[str]:
    """Return what `Replay.left` has put on the report; it may come from another process."""
    left = getattr(report, "isolate_left", None)
    return [str(line) for line in left] if isinstance(left, list) else []
