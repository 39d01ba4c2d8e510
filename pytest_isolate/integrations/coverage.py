"""What isolated tests run of the code that coverage.py measures, carried over to its data.

coverage.py collects in memory and writes its file when a process ends. A test process ends in
`os._exit` and its files are thrown away, so it sends what it has collected when its test is over:
what its parent has heard before is left out, for most tests run what others have run. Files that
measured programs of the test have written are read and sent as well.
"""

# ruff: noqa: SLF001  # coverage.py has no public way to give its collector other data to fill

from __future__ import annotations

from contextlib import suppress
import os
import sys
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import TypeAlias
from typing import final

from pytest_isolate.wire.frames import Event

if TYPE_CHECKING:
    from collections.abc import Collection
    from collections.abc import Iterator
    from collections.abc import Mapping

    from pytest_isolate.wire.frames import Json

#: The event's name.
COVERED: Final = "covered"
#: Numbers of lines in one frame.
_MOST: Final = 100_000
#: A line, or the two ends of an arc.
_Mark: TypeAlias = int | tuple[int, int]
#: By context (`""` without one), file.
_Marks: TypeAlias = dict[str, dict[str, set[_Mark]]]


def _current() -> Any:  # noqa: ANN401  # coverage.py is not ours to require
    """Return the `Coverage` that measures this process, or `None`."""
    coverage = sys.modules.get("coverage")
    return None if coverage is None else coverage.Coverage.current()


@final
class Coverage:
    """What the test processes of a session have told: filled in the parent, inherited by forks."""

    def __init__(self) -> None:
        self._marks: _Marks = {}
        self._tracers: dict[str, str] = {}

    def settle(self) -> None:
        """Write down what is collected by now: every fork would have to look through it."""
        if (coverage := _current()) is not None:
            coverage._collector.flush_data()

    def listen(self) -> Listener | None:
        """Collect, in a test process, apart from what its parent had collected."""
        coverage = _current()
        return None if coverage is None else Listener(coverage, self._marks)

    def hear(self, change: Json) -> None:
        """Take in what a test process has sent; nonsense is passed over."""
        match change:
            case {"context": str(context), "file": str(file), "arcs": bool(arcs), "marks": marks}:
                with suppress(TypeError, ValueError):
                    numbers = [int(mark) for mark in marks]
                    new: Collection[_Mark] = numbers
                    if arcs:
                        new = list(zip(numbers[::2], numbers[1::2], strict=True))
                    self._marks.setdefault(context, {}).setdefault(file, set()).update(new)
                if tracer := change.get("tracer"):
                    self._tracers[file] = str(tracer)
            case {"warned": str(slug)} if (coverage := _current()) is not None:
                # Where this is empty, coverage.py has not looked into its settings yet.
                coverage._no_warn_slugs |= {slug, *coverage.config.disable_warnings}
            case _:
                pass

    def hand_over(self) -> None:
        """Give it all to the `Coverage` of this process."""
        coverage = _current()
        if coverage is None or not self._marks:
            return
        collector = coverage._collector
        collector.flush_data()
        data = collector.covdata
        before = data._current_context
        for context, files in self._marks.items():
            data.set_context(context or None)
            (data.add_arcs if collector.branch else data.add_lines)(files)
        data.set_context(before)
        data.add_file_tracers(self._tracers)
        self._marks = {}


@final
class Listener:
    """The collector's data in one test process, instead of a file."""

    def __init__(self, coverage: Any, known: _Marks) -> None:  # noqa: ANN401  # a Coverage
        self._coverage = coverage
        self._collector = coverage._collector
        self._known = known
        data = self._collector.covdata
        self._base = str(data.base_filename())
        self._context: str | None = data._current_context
        self._tracers: dict[str, str] = {}
        self._collector.covdata = self
        self._marks: _Marks = {}
        # What the parent has collected it will write itself.
        self._collector.flush_data()
        self._marks = {}
        self._files = set(self._data_files())
        self._warned = set(coverage._no_warn_slugs)

    # --- what the collector calls ---

    def set_context(self, context: str | None) -> str | None:
        """Have what follows filed under *context*."""
        before, self._context = self._context, context
        return before

    def add_lines(self, files: Mapping[str, Collection[_Mark]]) -> None:
        """File lines, by file."""
        context = self._marks.setdefault(self._context or "", {})
        for file, marks in files.items():
            context.setdefault(file, set()).update(marks)

    add_arcs = add_lines

    def add_file_tracers(self, tracers: Mapping[str, str]) -> None:
        """Note which plugin of coverage.py has measured a file."""
        self._tracers.update(tracers)

    # --- what the test process calls ---

    def entries(self) -> Iterator[Event]:
        """Yield what the parent does not know, and stop listening."""
        self._collector.flush_data()
        # What coverage.py warns of once in a process is said once in a session.
        for slug in sorted(self._coverage._no_warn_slugs - self._warned):
            yield Event(COVERED, {"warned": slug})
        for path in set(self._data_files()) - self._files:
            self._read(path)
        for context, files in self._marks.items():
            for file, marks in files.items():
                known = self._known.get(context, {}).get(file)
                new = marks if known is None else marks - known
                # A file without a line is one that was loaded, and that was new.
                if new or known is None:
                    yield from self._pack(context, file, list(new))

    def _pack(self, context: str, file: str, marks: list[_Mark]) -> Iterator[Event]:
        arcs = bool(self._collector.branch)
        for start in range(0, len(marks) or 1, _MOST):
            part: list[Any] = marks[start : start + _MOST]
            yield Event(
                COVERED,
                {
                    "context": context,
                    "file": file,
                    "arcs": arcs,
                    "marks": [end for arc in part for end in arc] if arcs else part,
                    "tracer": self._tracers.get(file, ""),
                },
            )

    def _data_files(self) -> Iterator[str]:
        """Yield the files that measured processes have written for coverage.py to combine."""
        directory, base = os.path.split(self._base)
        with suppress(OSError):
            for name in os.listdir(directory):  # noqa: PTH208  # plain text
                if name.startswith(f"{base}."):
                    yield os.path.join(directory, name)  # noqa: PTH118

    def _read(self, path: str) -> None:
        coverage = sys.modules["coverage"]
        with suppress(coverage.exceptions.CoverageException, OSError):
            data = coverage.CoverageData(basename=path)
            data.read()
            for self._context in data.measured_contexts():
                data.set_query_context(self._context)
                marks = data.arcs if self._collector.branch else data.lines
                self.add_lines({file: marks(file) or () for file in data.measured_files()})
            self.add_file_tracers({
                file: tracer for file in data.measured_files() if (tracer := data.file_tracer(file))
            })
