"""The programs and what is known of each: programs.toml.

    python3 -m tests.programs.table --quick

prints the Debian packages of the quick part, or of `--all`: any Python can do it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
import tomllib
from typing import TYPE_CHECKING
from typing import Final
from typing import final

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE: Final = Path(__file__).parent


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program, and a test that uses it."""

    name: str
    packages: tuple[str, ...]  #: Debian's
    use: str  #: the test, `MODULE::FUNCTION` of uses/
    does: str  #: what the test does with it
    note: str  #: what somebody who uses it in a test should know
    quick: bool


def programs() -> dict[str, Program]:
    """Return all programs, by name."""
    tables = tomllib.loads((HERE / "programs.toml").read_text(encoding="utf-8"))
    return {
        name: Program(
            name=name,
            packages=tuple(table["packages"]),
            use=table["use"],
            does=table["does"],
            note=table.get("note", ""),
            quick=table.get("quick", False),
        )
        for name, table in tables.items()
    }


def packages(some: Iterable[Program]) -> list[str]:
    """Return what has to be installed for *some* programs."""
    return sorted({package for program in some for package in program.packages})


def main() -> None:
    """Print the packages, a line each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    part = parser.add_mutually_exclusive_group(required=True)
    part.add_argument("--all", action="store_true", help="of all programs")
    part.add_argument("--quick", action="store_true", help="of those that are run on every change")
    arguments = parser.parse_args()
    some = (program for program in programs().values() if arguments.all or program.quick)
    print("\n".join(packages(some)))


if __name__ == "__main__":
    main()
