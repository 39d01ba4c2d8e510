"""What isolation adds to a trivial test, beside what a bare fork adds, all in one run.

Every kind of run is done once a round, with the whole suite and with a suite of one test: what
differs is the price of the tests, the rest is start-up. The kinds take turns, so that a change of
the machine's load meets all of them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from dataclasses import dataclass
import importlib.metadata
import json
import os
from pathlib import Path
import platform
import statistics
import sys
import tempfile
from typing import TYPE_CHECKING
from typing import Final
from typing import TypeAlias

from barefork import LOOP_PREFIX
from suite import BrokenRunError
from suite import Kind
from suite import Suite

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Mapping
    from collections.abc import Sequence

    from suite import Pair

    #: Every kind's runs by its name, one entry a round.
    Runs: TypeAlias = Mapping[str, list[Pair]]

#: What two lists of figures, one entry a round, differ by.
Difference: TypeAlias = Callable[[list[float], list[float]], float]

PLAIN: Final = Kind(name="plain pytest", options=())
FORK_WAIT: Final = Kind(
    name="fork + wait before each test", options=("-p", "barefork", "--barefork=wait")
)
FORK_RUN: Final = Kind(
    name="each test in a bare fork", options=("-p", "barefork", "--barefork=run"), reports=False
)
FORKED: Final = Kind(name="pytest --forked", options=("-p", "pytest_forked", "--forked"))
IDLE: Final = Kind(name="plugin, nothing isolated", options=("-p", "pytest_isolate.plugin"))
ISOLATE: Final = Kind(name="pytest --isolate", options=("-p", "pytest_isolate.plugin", "--isolate"))
LOOP: Final = "fork + wait in a loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Milliseconds that one kind of run adds to plain pytest."""

    wall: float  #: per test, start-up apart
    cpu: float  #: the same in CPU time of all processes
    wall_all: float  #: per test, start-up included
    cpu_all: float
    startup: float | None  #: wall, once a run; `None` where there is no run of its own


@dataclass(frozen=True, slots=True)
class Aim:
    """A ratio that is aimed at."""

    name: str
    limit: float
    base: str  #: the kind to compare with
    of: Callable[[Price], float]


def _of_medians(figures: list[float], base: list[float]) -> float:
    """Return the median of the differences within a round, where the load was much the same."""
    return statistics.median(one - other for one, other in zip(figures, base, strict=True))


def _of_least(figures: list[float], base: list[float]) -> float:
    """Return the difference of the least figures, those that other work disturbed least."""
    return min(figures) - min(base)


def _wall(price: Price) -> float:
    return price.wall


def _cpu(price: Price) -> float:
    return price.cpu


AIMS: Final = (
    Aim("wall, against pytest-forked", 0.75, FORKED.name, _wall),
    Aim("wall, against fork + wait before each test", 2.0, FORK_WAIT.name, _wall),
    Aim("wall, against fork + wait in a loop", 2.0, LOOP, _wall),
    Aim("CPU, against pytest-forked", 1.0, FORKED.name, _cpu),
)


def main() -> int:
    """Measure and print; return 1 if there was no isolated run to measure."""
    options = _parse(sys.argv[1:])
    isolate = Kind(name=ISOLATE.name, options=ISOLATE.options + options.pytest)
    print(_describe(options))
    # Beside this file: a checkout seldom lies in /tmp, of which a sandbox has its own.
    with tempfile.TemporaryDirectory(prefix="suite-", dir=Path(__file__).parent) as directory:
        suite = Suite(Path(directory), tests=options.tests, ballast=options.ballast)
        candidates = (PLAIN, IDLE, FORK_WAIT, FORK_RUN, FORKED, isolate)
        kinds = [kind for kind in candidates if _works(suite, kind)]
        runs, loops = _measure(suite, kinds, options.rounds)
    medians, least = (_prices(runs, loops, suite.tests, by) for by in (_of_medians, _of_least))
    print("", *_table(medians, least), "", *_aims(medians, least), sep="\n")
    if options.json:
        pairs = {name: [asdict(pair) for pair in done] for name, done in runs.items()}
        text = json.dumps({"tests": suite.tests, "runs": pairs, LOOP: loops}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0 if ISOLATE.name in medians else 1


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what isolation adds to a trivial test.")
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ballast", type=int, default=0, metavar="MB", help="memory of pytest")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the single runs")
    parser.add_argument("pytest", nargs="*", help="options of the isolated run, after --")
    options = parser.parse_args(argv)
    options.pytest = tuple(options.pytest)
    if options.tests < 2 or options.rounds < 1:  # a run of one is subtracted
        parser.error("at least two tests and one round are needed")
    return options


def _describe(options: argparse.Namespace) -> str:
    versions = f"pytest {importlib.metadata.version('pytest')}, Python {platform.python_version()}"
    machine = f"Linux {platform.release()}, {len(os.sched_getaffinity(0))} CPUs"
    work = f"{options.tests} tests, {options.rounds} rounds, {options.ballast} MB ballast"
    return f"{versions}, {machine}; {work}"


def _works(suite: Suite, kind: Kind) -> bool:
    """Warm the caches up, and say what is left out of the comparison and why."""
    try:
        done = suite.run(kind)
    except BrokenRunError as broken:
        if kind.name not in {FORKED.name, ISOLATE.name}:
            print(broken.output, file=sys.stderr)
            raise
        print(f"not measured: {broken}")
        return False
    if kind.name == ISOLATE.name:
        print(*(line for line in done.output.splitlines() if line.startswith("isolate:")))
    return True


def _measure(
    suite: Suite, kinds: Sequence[Kind], rounds: int
) -> tuple[dict[str, list[Pair]], list[dict[str, float]]]:
    """Return the runs of each kind, and the figures of the forks in a loop."""
    runs: dict[str, list[Pair]] = {kind.name: [] for kind in kinds}
    loops = []
    for number in range(rounds):
        for kind in _turned(kinds, number):
            runs[kind.name].append(suite.run_pair(kind))
        loops.append(_loop(suite))
    return runs, loops


def _turned(kinds: Sequence[Kind], number: int) -> Sequence[Kind]:
    turn = number % len(kinds)
    return [*kinds[turn:], *kinds[:turn]]


def _loop(suite: Suite) -> dict[str, float]:
    kind = Kind(name=LOOP, options=("-p", "barefork", f"--fork-loop={suite.tests}"))
    lines = suite.run(kind).output.splitlines()
    line = next(line for line in lines if line.startswith(LOOP_PREFIX))
    figures: dict[str, float] = json.loads(line.removeprefix(LOOP_PREFIX))
    return figures


def _prices(
    runs: Runs, loops: list[dict[str, float]], tests: int, by: Difference
) -> dict[str, Price]:
    """Return the price of each kind but the plain one."""
    nothing = [0.0] * len(loops)
    wall = by([loop["wall_median"] for loop in loops], nothing)
    cpu = by([loop["cpu_mean"] for loop in loops], nothing)
    prices = {LOOP: Price(wall=wall, cpu=cpu, wall_all=wall, cpu_all=cpu, startup=None)}
    for name, pairs in runs.items():
        if name != PLAIN.name:
            prices[name] = _price(pairs, runs[PLAIN.name], tests, by)
    return prices


def _price(pairs: list[Pair], plain: list[Pair], tests: int, by: Difference) -> Price:
    def added(figure: Callable[[Pair], float]) -> float:
        return by([figure(pair) for pair in pairs], [figure(pair) for pair in plain]) * 1e3

    return Price(
        wall=added(lambda pair: pair.whole.wall - pair.one.wall) / (tests - 1),
        cpu=added(lambda pair: pair.whole.cpu - pair.one.cpu) / (tests - 1),
        wall_all=added(lambda pair: pair.whole.wall) / tests,
        cpu_all=added(lambda pair: pair.whole.cpu) / tests,
        startup=added(lambda pair: pair.one.wall),
    )


def _table(medians: Mapping[str, Price], least: Mapping[str, Price]) -> Iterator[str]:
    yield "                                 start-up apart             start-up included  start-up"
    yield "ms added to plain pytest       wall/test       CPU/test      wall/test  CPU/test   wall"
    yield "(median, and of least runs) median   least  median   least     median    median  once"
    for name, price in medians.items():
        low = least[name]
        startup = "" if price.startup is None else f"{price.startup:8.0f}"
        yield (
            f"{name:28}{price.wall:6.2f}{low.wall:8.2f}{price.cpu:8.2f}{low.cpu:8.2f}"
            f"{price.wall_all:11.2f}{price.cpu_all:10.2f}{startup}"
        )


def _aims(medians: Mapping[str, Price], least: Mapping[str, Price]) -> Iterator[str]:
    yield "                                                ratio of"
    yield "pytest --isolate, start-up apart           medians   least     aim  1.5 x aim"
    for aim in AIMS:
        limits = f"{aim.limit:8.2f}{aim.limit * 1.5:11.3f}"
        if ISOLATE.name not in medians or aim.base not in medians:
            yield f"{aim.name:42}{'-':>8}{'-':>8}{limits}  not measured"
            continue
        ratio, best = (aim.of(of[ISOLATE.name]) / aim.of(of[aim.base]) for of in (medians, least))
        verdict = "met" if ratio <= aim.limit else "near" if ratio <= aim.limit * 1.5 else "missed"
        yield f"{aim.name:42}{ratio:8.2f}{best:8.2f}{limits}  {verdict}"


if __name__ == "__main__":
    sys.exit(main())
