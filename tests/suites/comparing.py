"""A suite's runs without and with isolation, compared test by test, and how that is told."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Final
from typing import final

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable
    from collections.abc import Mapping
    from pathlib import Path

    from tests.suites.running import Run
    from tests.suites.running import Told

_COLUMNS: Final = (
    "suite,tests,agree,differ,listed,unsteady,soft,left,seconds without,with,ms a test"
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A suite's runs, test by test."""

    name: str
    plain: Run
    isolated: Run
    listed: Mapping[str, str]  #: reasons, by the test that must differ
    differ: dict[str, str] = field(default_factory=dict)  #: how, by test
    unsteady: dict[str, str] = field(default_factory=dict)  #: the same, of those that do plainly
    soft: dict[str, str] = field(default_factory=dict)  #: in what besides the outcome, by test

    @property
    def unexpected(self) -> dict[str, str]:
        """How tests differ that are not on the list."""
        return {test: how for test, how in self.differ.items() if test not in self.listed}

    @property
    def needless(self) -> list[str]:
        """The tests on the list that do not differ."""
        return sorted(self.listed.keys() - self.differ.keys() - self.unsteady.keys())

    @property
    def agrees(self) -> bool:
        """Whether nobody could tell the runs apart by how a test ends, but for the list."""
        whole = self.plain.ended and self.isolated.ended and bool(self.plain.tests)
        return whole and not self.unexpected and not self.isolated.left


def judge(name: str, attempt: Callable[[bool], Run], listed: Mapping[str, str]) -> Comparison:
    """Run a suite without and with isolation, and compare.

    Where tests differ that should not, it is run without isolation once more: those that differ
    from themselves say nothing.
    """
    first = attempt(False)  # noqa: FBT003  # nothing else could be meant
    comparison = compare(name, first, attempt(True), listed)  # noqa: FBT003  # as above
    if comparison.unexpected:
        second = attempt(False)  # noqa: FBT003  # as above
        for test in comparison.unexpected:
            one, other = first.tests.get(test), second.tests.get(test)
            if _outcomes(one) != _outcomes(other):
                comparison.unsteady[test] = comparison.differ.pop(test)
    return comparison


def compare(name: str, plain: Run, isolated: Run, listed: Mapping[str, str]) -> Comparison:
    """Return how the runs differ, by test."""
    comparison = Comparison(name=name, plain=plain, isolated=isolated, listed=listed)
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


def _outcomes(told: Told | None) -> str:
    """Return how a test ended, phase by phase, subtests among them."""
    return " ".join(
        f"{one['when']} {'x' if one['wasxfail'] is not None else ''}{one['outcome']}"
        for one in told or ()
    )


# --- telling ---


def table(comparisons: Iterable[Comparison]) -> str:
    """Return a Markdown table, a suite a line."""
    columns = _COLUMNS.split(",")
    lines = [_cells(columns), f"|{'|'.join(['---'] + ['--:'] * (len(columns) - 1))}|"]
    total, seconds = [0] * 7, [0.0, 0.0]
    for one in comparisons:
        tests = len(one.plain.tests)
        apart = one.differ.keys() | one.unsteady.keys()
        counts = [
            tests,
            len(one.plain.tests.keys() - apart),
            len(one.unexpected),
            len(one.differ) - len(one.unexpected),
            len(one.unsteady),
            len(one.soft),
            len(one.isolated.left),
        ]
        total = [a + b for a, b in zip(total, counts, strict=True)]
        took = [one.plain.seconds, one.isolated.seconds]
        seconds = [a + b for a, b in zip(seconds, took, strict=True)]
        lines.append(_row(one.name, counts, took))
    lines.append(_row("**all**", total, seconds))
    return "\n".join(lines)


def _row(name: str, counts: list[int], seconds: list[float]) -> str:
    each = 1000 * (seconds[1] - seconds[0]) / max(counts[0], 1)
    return _cells([name, *map(str, counts), *(f"{one:.1f}" for one in seconds), f"{each:.1f}"])


def _cells(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def reasons(comparisons: Iterable[Comparison]) -> str:
    """Return a Markdown list of why tests differ that must, a reason a line."""
    tests: dict[str, list[str]] = {}
    for one in comparisons:
        for test in sorted(one.differ.keys() & one.listed.keys()):
            tests.setdefault(one.listed[test], []).append(f"`{one.name.split()[0]}: {test}`")
    return "\n".join(f"- {reason}: {', '.join(named)}" for reason, named in tests.items())


def put(page: Path, name: str, text: str) -> None:
    """Put *text* in the place of *page* that is there for *name*."""
    begin, end = (f"<!-- {name}: {word} -->" for word in ("begin", "end"))
    head, _, rest = page.read_text(encoding="utf-8").partition(begin)
    tail = rest.partition(end)[2]
    page.write_text(f"{head}{begin}\n\n{text}\n\n{end}{tail}", encoding="utf-8")


def tell(one: Comparison) -> None:
    """Print what was found, test by test."""
    verdict = "agrees" if one.agrees else "DIFFERS"
    print(f"{one.name}: {len(one.plain.tests)} tests, {verdict}", flush=True)
    for what, run in (("without", one.plain), ("with", one.isolated)):
        if not run.ended:
            print(f"  ended by its time limit, {what} isolation, after {len(run.tests)} tests")
    for test, how in sorted(one.unexpected.items()):
        print(f"  {test}: {how}")
    for test, how in sorted(one.unsteady.items()):
        print(f"  unsteady without isolation too: {test}: {how}")
    for test in sorted(one.differ.keys() & one.listed.keys()):
        print(f"  as listed: {test}: {one.differ[test]}: {one.listed[test]}")
    for test in one.needless:
        print(f"  listed, but agrees: {test}: {one.listed[test]}")
    for how in sorted(set(one.soft.values())):
        alike = sorted(test for test, other in one.soft.items() if other == how)
        print(f"  the same outcome, other {how}: {len(alike)}, such as {', '.join(alike[:3])}")
    for what in one.isolated.left:
        print(f"  left behind: {what}")
