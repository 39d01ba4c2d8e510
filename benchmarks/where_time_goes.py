"""Where the time of one sandbox goes: the sandbox layer alone, with a test that does nothing.

The functions of each step are wrapped in a stopwatch, here and in the keeper, which for that
purpose is a fork of this process and not a fresh interpreter. One life of a sandbox is measured
twice: with a pause before and after, so that nothing else runs, and back to back, where the keeper
makes the next sandbox and removes the last one meanwhile, as it does in a test run.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
import mmap
import os
from pathlib import Path
import platform
import resource
import socket
import statistics
import sys
import time
import traceback
from typing import TYPE_CHECKING
from typing import Final
from typing import NamedTuple

from steps import Tracks

from pytest_isolate.policy.model import Policy
from pytest_isolate.policy.resolution import Resolved
from pytest_isolate.policy.resolution import resolve
from pytest_isolate.sandbox.keeper import service
from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.pool import Pool
from pytest_isolate.sandbox.supervise import execution
from pytest_isolate.wire.channel import Socket
from pytest_isolate.wire.frames import Confined

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_isolate.sandbox.spec import Spec
    from pytest_isolate.wire.channel import Writer
    from pytest_isolate.wire.frames import Frame

_PAUSE_SECONDS: Final = 0.02  #: by then the keeper has nothing left to do
_WARM_UP: Final = 5


class Bench:
    """A keeper with stopwatches, and the lives of sandboxes that are measured."""

    def __init__(self, tracks: Tracks) -> None:
        self._tracks = tracks
        self._pool = _start_keeper()
        resolution = resolve(Policy(enabled=True), self._pool.capabilities)
        if not isinstance(resolution, Resolved):
            msg = f"the default sandbox cannot be had: {resolution}"
            raise SystemExit(msg)
        self.notes = resolution.notes
        here = os.fspath(Path.cwd())
        imports = tuple(path for path in sys.path if Path(path).is_dir())
        self._spec: Spec = replace(resolution.spec, imports=imports, project=(here,))
        self._entry = Entry(cwd=here)

    def lives(self, count: int, *, pause: float = 0.0) -> None:
        """Live *count* lives, each with *pause* seconds around it or else back to back."""
        self._pool.prepare(self._spec)
        for number in range(count):
            time.sleep(pause)
            start = time.monotonic_ns()
            sandbox = self._pool.acquire(self._spec)
            if not pause and number + 1 < count:
                self._pool.prepare(self._spec)
            end = execution.run(sandbox, self._entry, self._main, on_frame=self._hear)
            sandbox.retire()
            self._tracks.life.note(start, time.monotonic_ns())
            if not end.said_bye:
                msg = f"a life ended before its end: {end}"
                raise SystemExit(msg)
            time.sleep(pause)
            if pause and number + 1 < count:
                self._pool.prepare(self._spec)
        time.sleep(_PAUSE_SECONDS)

    def bare_forks(self, count: int) -> None:
        """Fork and wait, *count* times."""
        for _ in range(count):
            start = time.monotonic_ns()
            pid = os.fork()
            if not pid:
                os._exit(0)
            os.waitpid(pid, 0)
            self._tracks.bare_fork.note(start, time.monotonic_ns())

    def close(self) -> float:
        """End the keeper, and return the CPU seconds of it and all its children."""
        before = _cpu_seconds(resource.RUSAGE_CHILDREN)
        self._pool.close()
        return _cpu_seconds(resource.RUSAGE_CHILDREN) - before

    def _main(self, _: Writer) -> None:
        now = time.monotonic_ns()
        self._tracks.main.note(now, now)

    def _hear(self, frame: Frame) -> None:
        if isinstance(frame, Confined):
            now = time.monotonic_ns()
            self._tracks.confined.note(now, now)


def _start_keeper() -> Pool:
    """Do what `Pool.start` does, but for the fresh interpreter."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    stderr = os.memfd_create("keeper")
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        try:
            os.dup2(stderr, 2)
            ours.close()
            os.setsid()
            service.main(theirs.detach(), parent, parent)
        except BaseException:  # noqa: BLE001  # the outermost frame of a forked child
            traceback.print_exc()
        finally:
            os._exit(0)
    theirs.close()
    return Pool(Socket(ours), pid, stderr)


def _cpu_seconds(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def _grow(megabytes: int) -> mmap.mmap:
    """Take memory in small pages, as a heap of Python objects has them."""
    size = max(1, megabytes) << 20
    ballast = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    ballast.madvise(mmap.MADV_NOHUGEPAGE)
    for page in range(0, megabytes << 20, mmap.PAGESIZE):
        ballast[page] = 1
    return ballast


def _resident_megabytes() -> int:
    _, resident, *_ = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(resident) * mmap.PAGESIZE >> 20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Show where the time of one sandbox goes.")
    parser.add_argument("--lives", type=int, default=200)
    parser.add_argument("--ballast", type=int, default=0, metavar="MB", help="memory to fork")
    options = parser.parse_args()
    tracks = Tracks()
    bench = Bench(tracks)  # its keeper must not have what this process has from here on
    import pytest  # noqa: PLC0415

    ballast = _grow(options.ballast)
    print(
        f"pytest {pytest.__version__}, Python {platform.python_version()}, "
        f"Linux {platform.release()}, {len(os.sched_getaffinity(0))} CPUs; "
        f"a process of {_resident_megabytes()} MB, {options.lives} lives each way"
    )
    paused = _measure(bench, tracks, options.lives, pause=_PAUSE_SECONDS)
    packed = _measure(bench, tracks, options.lives, pause=0.0)
    ballast.close()
    print(*_table(paused, packed), sep="\n")
    keeper_ms = bench.close() / (2 * (options.lives + _WARM_UP)) * 1e3
    print(f"{'keeper and its children, both ways':41}{keeper_ms:8.3f}")


class Figures(NamedTuple):
    """What one way of living cost."""

    steps: dict[str, list[float]]  #: milliseconds, one entry a life
    parent_cpu: float  #: milliseconds a life
    test_cpu: float


def _measure(bench: Bench, tracks: Tracks, count: int, *, pause: float) -> Figures:
    bench.lives(_WARM_UP, pause=pause)
    tracks.clear()
    bench.bare_forks(count)
    whose = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    before = [_cpu_seconds(who) for who in whose]
    bench.lives(count, pause=pause)
    parent, test = (_cpu_seconds(who) - old for who, old in zip(whose, before, strict=True))
    return Figures(dict(tracks.steps()), parent / count * 1e3, test / count * 1e3)


def _table(paused: Figures, packed: Figures) -> Iterator[str]:
    yield ""
    yield "                                            with pauses      back to back"
    yield "wall ms                                   median   least    median   least"
    for name in paused.steps:
        cells = [_cell(figures.steps[name]) for figures in (paused, packed)]
        yield f"{name:40}" + "  ".join(cells)
    yield "CPU ms a life                               mean               mean"
    yield f"{'parent':41}{paused.parent_cpu:8.3f}{packed.parent_cpu:18.3f}"
    yield f"{'test process':41}{paused.test_cpu:8.3f}{packed.test_cpu:18.3f}"


def _cell(times: list[float]) -> str:
    return f"{statistics.median(times):8.3f}{min(times):8.3f}" if times else f"{'-':>8}{'-':>8}"


if __name__ == "__main__":
    main()
