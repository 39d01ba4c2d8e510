"""What was found of each program, and how that is told."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping
    from collections.abc import Sequence

    from tests.programs.table import Program
    from tests.suites.running import Run
    from tests.suites.running import Told

WORKS: Final = "works"


def verdict(use: str, plain: Run, isolated: Run) -> str:
    """Say how the test *use* went: it has to pass in both runs, every phase of it."""
    for how, one in (("without", plain), ("with", isolated)):
        told = next((told for name, told in one.tests.items() if name.endswith(f"/{use}")), [])
        if not _passed(told):
            last = next((report["last"] for report in told if report["last"]), "no report")
            return f"fails {how} isolation: {last}"
    return WORKS


def all_passed(one: Run) -> bool:
    """Say whether all tests of a run passed."""
    return all(map(_passed, one.tests.values()))


def _passed(told: Told) -> bool:
    phases = [report["when"] for report in told if report["outcome"] == "passed"]
    return phases == ["setup", "call", "teardown"] and len(told) == len(phases)


def problems(who: str, some: Iterable[Program], verdicts: Mapping[str, str]) -> list[str]:
    """Return a line for each thing that is not as it should be."""
    silent = {one.name: "no verdict" for one in some if one.name not in verdicts}
    return [
        f"{who}: {name}: {said}" for name, said in {**verdicts, **silent}.items() if said != WORKS
    ]


def absent(lacking: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line for each program with packages that are *lacking*, and what installs them."""
    lines = [f"{name}: not installed: {' '.join(some)}" for name, some in lacking.items() if some]
    if not lines:
        return []
    needed = sorted({package for some in lacking.values() for package in some})
    return [*lines, f"apt-get install --no-install-recommends {' '.join(needed)}"]


def table(
    some: Iterable[Program], verdicts: Mapping[str, str], users: Mapping[str, str] | None
) -> str:
    """Return a Markdown table, a program a line; *users* is None if no ordinary user tried."""
    lines = ["| program | what is done with it | root | user | note |", "|---|---|---|---|---|"]
    for one in some:
        user = "not tried" if users is None else users.get(one.name, "no verdict")
        root = verdicts.get(one.name, "no verdict")
        lines.append(f"| {one.name} | {one.does} | {root} | {user} | {one.note} |")
    return "\n".join(lines).replace("|  |", "| |")
