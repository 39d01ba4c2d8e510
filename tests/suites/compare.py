"""Run packages' own test suites without and with isolation, and compare what was told of each test.

    python -m tests.suites.compare --quick
    python -m tests.suites.compare click werkzeug
    python -m tests.suites.compare --all --page docs/reference/real-suites.md

Exits with 1 if a test ended differently, was lost or told of more, or left anything behind.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
import sys
import tempfile
from typing import TYPE_CHECKING
from typing import final

from tests.suites.released import Release
from tests.suites.released import Workshop
from tests.suites.released import releases
from tests.suites.running import run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.suites.running import Run
    from tests.suites.running import Told

#: The lines of a page between which the table stands.
_BEGIN, _END = "<!-- table: begin -->", "<!-- table: end -->"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A suite's two runs, test by test."""

    release: Release
    plain: Run
    isolated: Run
    differ: dict[str, str] = field(default_factory=dict)  #: how, by test
    soft: dict[str, str] = field(default_factory=dict)  #: in what besides the outcome, by test

    @property
    def agrees(self) -> bool:
        """Whether nobody could tell the runs apart by a test's end."""
        return not self.differ and not self.isolated.left


# --- comparing ---


def compare(release: Release, plain: Run, isolated: Run) -> Comparison:
    """Return how the runs differ, by test."""
    comparison = Comparison(release=release, plain=plain, isolated=isolated)
    for test in plain.tests.keys() | isolated.tests.keys():
        one, other = plain.tests.get(test), isolated.tests.get(test)
        if one is None or other is None:
            comparison.differ[test] = "told of more" if one is None else "lost"
        elif (was := _outcomes(one)) != (became := _outcomes(other)):
            comparison.differ[test] = f"was {was}, became {became}"
        elif one != other:
            named = {
                name for a, b in zip(one, other, strict=True) for name in a if a[name] != b[name]
            }
            comparison.soft[test] = ", ".join(sorted(named))
    return comparison


def _outcomes(told: Told) -> str:
    return " ".join(
        f"{one['when']} {'x' if one['wasxfail'] is not None else ''}{one['outcome']}"
        for one in told
    )


# --- telling ---


def table(comparisons: Iterable[Comparison]) -> str:
    """Return a Markdown table, a suite a line."""
    lines = [
        "| suite | tests | agree | differ | soft | left | seconds without | with | ms a test |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    total = [0] * 5
    seconds = [0.0, 0.0]
    for one in comparisons:
        tests = len(one.plain.tests)
        counts = [
            tests,
            tests - sum(test in one.plain.tests for test in one.differ),
            len(one.differ),
            len(one.soft),
            len(one.isolated.left),
        ]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        took = [one.plain.seconds, one.isolated.seconds]
        seconds = [a + b for a, b in zip(seconds, took, strict=True)]
        lines.append(_row(f"{one.release.name} {one.release.version}", counts, took))
    lines.append(_row("**all**", total, seconds))
    return "\n".join(lines)


def _row(name: str, counts: list[int], seconds: list[float]) -> str:
    each = 1000 * (seconds[1] - seconds[0]) / max(counts[0], 1)
    cells = [name, *map(str, counts), *(f"{one:.1f}" for one in seconds), f"{each:.1f}"]
    return f"| {' | '.join(cells)} |"


def put(page: Path, text: str) -> None:
    """Put *text* in the place of *page* that is there for it."""
    head, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    tail = rest.partition(_END)[2]
    page.write_text(f"{head}{_BEGIN}\n\n{text}\n\n{_END}{tail}", encoding="utf-8")


def _tell(comparison: Comparison) -> None:
    for test, how in sorted(comparison.differ.items()):
        print(f"  {test}: {how}")
    for test, how in sorted(comparison.soft.items()):
        print(f"  {test}: the same outcome, other {how}")
    for what in comparison.isolated.left:
        print(f"  left behind: {what}")


def main() -> int:
    """Compare what the command line names."""
    known = releases()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*known, []], metavar="SUITE")
    parser.add_argument("--all", action="store_true", help="all suites: half an hour")
    parser.add_argument("--quick", action="store_true", help="those of a few seconds")
    parser.add_argument("--page", type=Path, help="put the table into this file")
    parser.add_argument(
        "--place",
        type=Path,
        default=Path(tempfile.gettempdir(), "hermetic-suites"),
        help="where packages are unpacked and installed (default: %(default)s)",
    )
    arguments = parser.parse_args()
    names = [
        name
        for name, release in known.items()
        if arguments.all or name in arguments.names or (arguments.quick and release.quick)
    ]
    if not names:
        parser.error("name suites, or say --quick or --all")
    workshop = Workshop(arguments.place)
    arguments.place.mkdir(parents=True, exist_ok=True)
    comparisons = []
    for name in names:
        plain, isolated = (run(workshop, known[name], isolated=one) for one in (False, True))
        comparisons.append(compare(known[name], plain, isolated))
        verdict = "agrees" if comparisons[-1].agrees else "DIFFERS"
        print(f"{name}: {len(plain.tests)} tests, {verdict}", flush=True)
        _tell(comparisons[-1])
    text = table(comparisons)
    print(text)
    if arguments.page is not None:
        put(arguments.page, text)
    return 0 if all(one.agrees and one.plain.tests for one in comparisons) else 1


if __name__ == "__main__":
    sys.exit(main())
