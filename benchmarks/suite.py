"""A suite of trivial tests, and the ways to run it."""

from __future__ import annotations

from dataclasses import dataclass
import os
from pathlib import Path
import sys
from typing import TYPE_CHECKING
from typing import Final

from processes import run

if TYPE_CHECKING:
    from processes import Run

_INI: Final = "[pytest]\naddopts = -p no:cacheprovider\n"
# Huge pages would make the ballast nearly free to fork, which a heap of Python objects is not.
_BALLAST: Final = """\
import mmap

ballast = mmap.mmap(-1, {size}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
ballast.madvise(mmap.MADV_NOHUGEPAGE)
for page in range(0, {size}, mmap.PAGESIZE):
    ballast[page] = 1
"""
_TESTS_PER_FILE: Final = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One way to run the suite."""

    name: str
    options: tuple[str, ...]
    reports: bool = True  #: whether pytest hears how the tests went


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A run of one test and a run of the whole suite: what differs is the price of the tests."""

    one: Run
    whole: Run


class BrokenRunError(Exception):
    """A run did not do what it was to be timed for."""

    def __init__(self, kind: Kind, output: str) -> None:
        lines = output.strip().splitlines() or ["no output"]
        super().__init__(f"{kind.name}: {lines[-1].strip('= ')}")
        self.output = output


class Suite:
    """Trivial tests in *directory*: *tests* of them, and one by itself."""

    def __init__(self, directory: Path, *, tests: int, ballast: int) -> None:
        self.directory = directory
        self.tests = tests
        self._write("pytest.ini", _INI)
        if ballast:
            self._write("conftest.py", _BALLAST.format(size=ballast << 20))
        self._write("one/test_one.py", _tests(range(1)))
        for first in range(0, tests, _TESTS_PER_FILE):
            numbers = range(first, min(first + _TESTS_PER_FILE, tests))
            self._write(f"whole/test_{first}.py", _tests(numbers))

    def run_pair(self, kind: Kind) -> Pair:
        """Run it both ways; raise `BrokenRunError` if pytest does not say that all passed."""
        return Pair(one=self._run(kind, "one", 1), whole=self.run(kind))

    def run(self, kind: Kind) -> Run:
        """Run the whole of it; raises as `run_pair`."""
        return self._run(kind, "whole", self.tests)

    def _run(self, kind: Kind, part: str, count: int) -> Run:
        argv = [sys.executable, "-m", "pytest", *kind.options]
        argv += ["-c", f"{self.directory}/pytest.ini", f"--rootdir={self.directory}"]
        done = run([*argv, f"{self.directory}/{part}"], _environment(), self.directory / "log")
        said = f"{count} passed" if kind.reports else "no tests ran"
        if said not in done.output:
            raise BrokenRunError(kind, done.output)
        return done

    def _write(self, name: str, text: str) -> None:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _tests(numbers: range) -> str:
    return "\n\n".join(f"def test_{number}() -> None:\n    pass\n" for number in numbers)


def _environment() -> dict[str, str]:
    """Return an environment where pytest has the plugins that it is told of and no others."""
    paths = [os.fspath(Path(__file__).parent), *filter(None, sys.path[1:])]
    return os.environ | {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": os.pathsep.join(paths),
    }
