"""Run packages' own test suites without and with isolation, and compare what was told of each test.

    python -m tests.suites.compare --quick
    python -m tests.suites.compare click werkzeug
    python -m tests.suites.compare --all --page docs/reference/real-suites.md

Exits with 1 if a test that is not on its suite's list ended differently, was lost or told of more,
or if anything was left behind.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
import tempfile
from typing import TYPE_CHECKING

from tests.suites.comparing import judge
from tests.suites.comparing import put
from tests.suites.comparing import reasons
from tests.suites.comparing import table
from tests.suites.comparing import tell
from tests.suites.released import Workshop
from tests.suites.released import releases
from tests.suites.running import Job
from tests.suites.running import run

if TYPE_CHECKING:
    from tests.suites.comparing import Comparison
    from tests.suites.released import Release
    from tests.suites.running import Run


def try_release(workshop: Workshop, release: Release) -> Comparison:
    """Run the suite of *release* without and with isolation."""

    def attempt(isolated: bool) -> Run:  # noqa: FBT001  # as `judge` calls it
        job = Job(
            name=release.name,
            python=workshop.python(release.name, isolated=isolated),
            args=(*(f"--deselect={test}" for test in release.deselect), *release.args),
            tree=workshop.tree(release),
            seconds=release.seconds,
        )
        return run(job, workshop.place, isolated=isolated)

    return judge(f"{release.name} {release.version}", attempt, release.differs)


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options that all comparisons have."""
    parser.add_argument("--page", type=Path, help="put what was found into this file")
    parser.add_argument(
        "--place",
        type=Path,
        default=Path(tempfile.gettempdir(), "hermetic-suites"),
        help="where packages are unpacked and installed (default: %(default)s)",
    )


def conclude(comparisons: list[Comparison], page: Path | None, name: str) -> int:
    """Print the table, put it into *page* under *name*, and return the exit status."""
    text = table(comparisons)
    print(text)
    if page is not None:
        put(page, name, text)
        put(page, f"{name} reasons", reasons(comparisons) or "None.")
    return 0 if all(one.agrees for one in comparisons) else 1


def main() -> int:
    """Compare what the command line names."""
    known = releases()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*known, []], metavar="SUITE")
    parser.add_argument("--all", action="store_true", help="all suites: an hour")
    parser.add_argument("--quick", action="store_true", help="those of a few seconds")
    add_common(parser)
    arguments = parser.parse_args()
    names = [
        name
        for name, release in known.items()
        if arguments.all or name in arguments.names or (arguments.quick and release.quick)
    ]
    if not names:
        parser.error("name suites, or say --quick or --all")
    arguments.place.mkdir(parents=True, exist_ok=True)
    workshop = Workshop(arguments.place)
    comparisons = []
    for name in names:
        comparisons.append(try_release(workshop, known[name]))
        tell(comparisons[-1])
    return conclude(comparisons, arguments.page, "table")


if __name__ == "__main__":
    sys.exit(main())
