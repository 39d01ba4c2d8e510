"""The steps of a sandbox's life, and the functions whose calls they are timed by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stopwatch import Track
from stopwatch import time_calls

from pytest_isolate.sandbox.cgroups import Cgroups
from pytest_isolate.sandbox.handle import Sandbox
from pytest_isolate.sandbox.keeper import init
from pytest_isolate.sandbox.keeper import prepare_root
from pytest_isolate.sandbox.keeper import sandboxes
from pytest_isolate.sandbox.keeper.sandboxes import Sandboxes
from pytest_isolate.sandbox.launch import entry
from pytest_isolate.sandbox.launch import forks
from pytest_isolate.sandbox.launch import hardening
from pytest_isolate.sandbox.launch import namespaces
from pytest_isolate.sandbox.launch import process
from pytest_isolate.sandbox.linux import libc  # this project's own
from pytest_isolate.sandbox.linux import loopback
from pytest_isolate.sandbox.pool import Pool
from pytest_isolate.sandbox.supervise import execution

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence


class Tracks:
    """The stopwatches. They must be in place before the keeper is forked."""

    def __init__(self) -> None:
        user, cgroup = libc.CLONE_NEWUSER, libc.CLONE_NEWCGROUP
        # Parent and test process.
        self.bare_fork = Track()
        self.life = Track()
        self.order = time_calls(Pool, "prepare")
        self.acquire = time_calls(Pool, "acquire")
        self.spawn = time_calls(execution, "spawn")
        self.fork = time_calls(forks, "fork")
        self.join = time_calls(entry, "join")
        self.setns = time_calls(libc, "setns", lambda _, flags: bool(flags & user))
        self.cgroup_ns = time_calls(libc, "unshare", lambda flags: flags == cgroup)
        self.settle = time_calls(entry, "settle")
        self.take_in = time_calls(process, "take_in")
        self.drop = time_calls(hardening, "drop_capabilities")
        self.confined = Track()
        self.main = Track()
        self.wait = time_calls(process.Process, "wait")
        self.evidence = time_calls(Sandbox, "evidence")
        self.retire = time_calls(Sandbox, "retire")
        # Keeper. What it does as the machine's root, its builder and init do elsewhere.
        self.prepare = time_calls(Sandboxes, "prepare")
        self.create = time_calls(Cgroups, "create")
        self.assemble = time_calls(sandboxes, "assemble")
        self.lay_out = time_calls(prepare_root, "lay_out")
        self.clone = time_calls(libc, "clone")
        self.maps = time_calls(namespaces, "write_maps")
        self.loopback = time_calls(loopback, "loopback_up")
        self.enter_root = time_calls(prepare_root, "enter_root")
        self.hand_over = time_calls(Sandboxes, "_hand_over")
        self.dismiss = time_calls(Sandboxes, "retire")
        self.reap_init = time_calls(Sandboxes, "_reap_init")
        self.remove = time_calls(Sandboxes, "_remove")
        # Init.
        self.close = time_calls(init, "_keep_only")
        self.say = time_calls(init, "_say")

    def clear(self) -> None:
        """Forget what was noted."""
        for track in vars(self).values():
            track.clear()

    def steps(self) -> Iterator[tuple[str, list[float]]]:
        """Yield the steps of a life in order, and how long each took, in milliseconds."""
        yield "bare fork + wait of this process", _lengths(self.bare_fork)
        yield "life of a test, acquired to retired", _lengths(self.life)
        yield "  wait for a ready sandbox", _lengths(self.acquire)
        yield "  spawn", _lengths(self.spawn)
        yield "    fork", _lengths(self.fork)
        yield "  spawned to the child's first step", _between(self.spawn.ends, self.setns.starts)
        yield "  child: enter namespaces", _lengths(self.setns)
        yield "  child: join", _lengths(self.join)
        yield "    cgroups", _between(self.join.starts, self.cgroup_ns.starts)
        yield "    cgroup namespace", _lengths(self.cgroup_ns)
        yield "  child: take descriptors in", _lengths(self.take_in)
        yield "  child: settle", _lengths(self.settle)
        yield "    drop capabilities", _lengths(self.drop)
        yield (
            "  settled to Confined in the parent",
            _between(self.settle.ends, self.confined.starts),
        )
        yield "  settled to main in the child", _between(self.settle.ends, self.main.starts)
        yield "  main's end to reaped", _between(self.main.ends, self.wait.ends)
        yield "    of it in wait4", _lengths(self.wait)
        yield "  evidence", _lengths(self.evidence)
        yield "  retire", _lengths(self.retire)
        yield "keeper: ordered to handed over", _between(self.order.starts, self.hand_over.ends)
        yield "  order to the keeper's hands", _between(self.order.starts, self.prepare.starts)
        yield "  prepare", _lengths(self.prepare)
        yield "    make cgroups", _lengths(self.create)
        yield "    assemble", _lengths(self.assemble)
        yield "      lay the root out", _lengths(self.lay_out)
        yield "      clone init", _lengths(self.clone)
        yield "      id maps", _lengths(self.maps)
        yield "      loopback up", _lengths(self.loopback)
        yield "      enter the root", _lengths(self.enter_root)
        yield "    init: close descriptors", _lengths(self.close)
        yield "  prepared to init's word", _between(self.prepare.ends, self.say.ends)
        yield "  init's word to handed over", _between(self.say.ends, self.hand_over.ends)
        yield "keeper: retired to removed", _between(self.retire.starts, self.remove.ends)
        yield "  kill to dead", _between(self.dismiss.ends, self.reap_init.starts)
        yield "  reap init", _lengths(self.reap_init)


def _lengths(track: Track) -> list[float]:
    return _between(track.starts, track.ends)


def _between(first: Sequence[int], second: Sequence[int]) -> list[float]:
    """Return the milliseconds from each of *first* to its fellow in *second*.

    Nothing where they do not pair: what is not done, or more than once, on this machine.
    """
    if len(first) != len(second):
        return []
    return [(end - start) / 1e6 for start, end in zip(first, second, strict=True)]
