"""A pytest plugin that forks and does nothing else: the floor that isolation is measured against.

`--barefork=wait` forks a child that exits at once, before each test, which then runs as usual.
`--barefork=run` runs each test in such a child and reports nothing: what a fork per test costs
when results are not brought home. `--fork-loop=N` times N forks of the collected session's process
at its end, one after the other.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import time
from typing import TYPE_CHECKING
from typing import Final

from _pytest.runner import runtestprotocol  # noqa: PLC2701, TID251  # as pytest-forked does
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

#: The line that carries the figures of `--fork-loop`, in milliseconds per fork.
LOOP_PREFIX: Final = "fork loop: "


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the two options."""
    parser.addoption("--barefork", choices=("wait", "run"))
    parser.addoption("--fork-loop", type=int, default=0, metavar="N")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Fork and wait, and leave the test to pytest unless the child was to run it."""
    how = item.config.getoption("--barefork")
    if how == "wait":
        _fork_and_wait(_nothing)
    elif how == "run":
        _fork_and_wait(lambda: runtestprotocol(item, log=False))
        return True
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Time the forks of `--fork-loop`."""
    count = terminalreporter.config.getoption("--fork-loop")
    if count:
        terminalreporter.write_line(LOOP_PREFIX + json.dumps(_time_forks(count)))


def _nothing() -> None:
    """Be what a child that only exits runs."""


def _fork_and_wait(run: Callable[[], object]) -> None:
    pid = os.fork()
    if not pid:
        try:
            run()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _time_forks(count: int) -> dict[str, float]:
    cpu = _cpu_seconds()
    walls = []
    for _ in range(count):
        start = time.perf_counter()
        _fork_and_wait(_nothing)
        walls.append(time.perf_counter() - start)
    return {
        "wall_median": statistics.median(walls) * 1e3,
        "cpu_mean": (_cpu_seconds() - cpu) / count * 1e3,
    }


def _cpu_seconds() -> float:
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
