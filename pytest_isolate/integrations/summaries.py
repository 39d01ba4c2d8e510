"""What plugins gather of tests and sum up at the session's end: carried over from test processes.

Each plugin has a class with the two ends: `listen` in the test process returns what yields the
entries that the test has added, `hear` makes them again where the plugin will look.
"""

# ruff: noqa: SLF001  # they have no public way to be told

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

from pytest_isolate.transfer.reports import degrade

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    import pytest

    from pytest_isolate.wire.frames import Json

    Entries = Callable[[], Iterator[Json]]


#: What pytest-benchmark tells of a measurement, besides its seconds.
_TOLD: Final = ("name", "fullname", "group", "param", "params", "extra_info", "options")


class Benchmarks:
    """pytest-benchmark's measurements."""

    name = "benchmark"

    @staticmethod
    def listen(config: pytest.Config) -> Entries | None:
        """Return what yields the measurements of one test."""
        session: Any = getattr(config, "_benchmarksession", None)
        if session is None:
            return None
        before = len(session.benchmarks)

        def entries() -> Iterator[Json]:
            for bench in session.benchmarks[before:]:
                # Its callables by name, as in the plugin's own files.
                told = bench.as_dict(include_data=False, stats=False)
                yield degrade({
                    **{name: told[name] for name in _TOLD},
                    "iterations": bench.iterations,
                    "data": list(bench.stats.data),
                    "has_error": bool(bench.has_error),
                    "skipped": bool(getattr(bench.fixture, "skipped", False)),
                })

        return entries

    @staticmethod
    def hear(item: pytest.Item, change: Json) -> None:
        """Make a measurement again."""
        session: Any = getattr(item.config, "_benchmarksession", None)
        if session is None:
            return
        stats: Any = sys.modules["pytest_benchmark.stats"]
        fixture = SimpleNamespace(**change, cprofile_stats=None)
        bench = stats.Metadata(fixture, change["iterations"], change["options"])
        for seconds in change["data"]:
            bench.stats.update(float(seconds))
        session.benchmarks.append(bench)


class Snapshots:
    """syrupy's assertions: without them it would take all snapshots for unused, and remove them."""

    name = "snapshot"

    @staticmethod
    def listen(config: pytest.Config) -> Entries | None:
        """Return what yields the assertions of one test, and writes the snapshots down."""
        session: Any = getattr(config, "_syrupy", None)
        if session is None:
            return None
        before = len(session._assertions)

        def entries() -> Iterator[Json]:
            session.flush_snapshot_write_queue()
            for assertion in session._assertions[before:]:
                kind = type(assertion.extension)
                results = assertion.executions.values()
                yield {
                    "extension": [kind.__module__, kind.__qualname__],
                    "results": [
                        {
                            "location": str(result.snapshot_location),
                            "name": str(result.snapshot_name),
                            "created": bool(result.created),
                            "updated": bool(result.updated),
                            "success": bool(result.success),
                        }
                        for result in results
                    ],
                }

        return entries

    @staticmethod
    def hear(item: pytest.Item, change: Json) -> None:
        """Make an assertion again, without its data."""
        session: Any = getattr(item.config, "_syrupy", None)
        if session is None:
            return
        syrupy: Any = sys.modules["syrupy.assertion"]
        module, name = change["extension"]
        extension: Any = sys.modules.get(str(module))
        for part in str(name).split("."):
            extension = getattr(extension, part, None)
        default = sys.modules["syrupy.extensions"].DEFAULT_EXTENSION
        if not (isinstance(extension, type) and hasattr(extension, "discover_snapshots")):
            extension = default
        location = sys.modules["syrupy.location"].PyTestLocation(item)
        assertion = syrupy.SnapshotAssertion(
            session=session,
            extension_class=extension,
            test_location=location,
            update_snapshots=session.update_snapshots,
        )
        for number, result in enumerate(change["results"]):
            assertion._execution_results[number] = syrupy.AssertionResult(
                snapshot_location=str(result["location"]),
                snapshot_name=str(result["name"]),
                asserted_data=None,
                recalled_data=None,
                created=bool(result["created"]),
                updated=bool(result["updated"]),
                success=bool(result["success"]),
                exception=None,
                test_location=location,
            )
            assertion._executions = number + 1


#: All of them, by the name of their event.
SUMMARIES: Final = {one.name: one for one in (Benchmarks, Snapshots)}
