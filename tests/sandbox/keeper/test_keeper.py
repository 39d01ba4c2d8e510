"""The keeper and its parent: who survives whose death, and that nothing stays behind."""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
import signal
import subprocess
import sys
import textwrap
import time
from typing import Final

import pytest

from pytest_isolate.sandbox.errors import KeeperError
from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.outcome import SetupFailed
from pytest_isolate.sandbox.pool import Pool
from pytest_isolate.sandbox.spec import Limits
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.supervise import execution

pytestmark = pytest.mark.needs("sandbox", "memory")

SPEC: Final = Spec(limits=Limits(memory=64 << 20))
PATIENCE: Final = 20.0


def children_of(pid: int) -> set[int]:
    """Return the descendants of *pid*, init processes of sandboxes and all in them included."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                stat = Path(f"/proc/{name}/stat").read_text(encoding="utf-8", errors="replace")
                parents[int(name)] = int(stat.rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def wait_until(condition: object, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def keeper_of(pool: Pool) -> int:
    return pool._keeper  # noqa: SLF001  # a death by any hand needs its pid


@pytest.mark.usefixtures("footprint")
def test_closed_pool_leaves_nothing_behind() -> None:
    pool = Pool.start()
    sandbox = pool.acquire(SPEC)
    execution.run(sandbox, Entry(cwd="/"), lambda _: None)
    sandbox.retire()
    pool.prepare(SPEC)
    living = children_of(os.getpid())
    descriptors = len(os.listdir("/proc/self/fd"))
    pool.close()

    assert keeper_of(pool) in living
    assert [pid for pid in living if not is_gone(pid)] == []
    assert len(os.listdir("/proc/self/fd")) < descriptors


@pytest.mark.usefixtures("footprint")
def test_sandbox_made_ahead_serves_an_equal_specification() -> None:
    pool = Pool.start()
    number = pool.prepare(SPEC)
    pool.prepare(Spec(hostname="other"))
    sandbox = pool.acquire(Spec(limits=Limits(memory=64 << 20)))

    assert sandbox.number == number
    assert pool.ahead == 1
    sandbox.retire()
    pool.close()


@pytest.mark.usefixtures("footprint")
def test_many_sandboxes_come_and_go_while_others_are_made() -> None:
    pool = Pool.start()
    for number in range(200):
        if number < 3:
            pool.prepare(SPEC)
        sandbox = pool.acquire(SPEC)
        pool.prepare(SPEC)
        end = execution.run(sandbox, Entry(cwd="/"), lambda _: None)
        sandbox.retire()
        assert end.outcome == Exited(0), f"sandbox {number}"
    pool.close()


@pytest.mark.usefixtures("footprint")
def test_parent_survives_the_keepers_death_and_says_so() -> None:
    pool = Pool.start()
    sandbox = pool.acquire(SPEC)

    end = execution.run(
        sandbox,
        Entry(cwd="/"),
        lambda _: time.sleep(60),
        on_start=lambda _: os.kill(keeper_of(pool), signal.SIGKILL),
    )

    assert isinstance(end.outcome, SetupFailed)
    assert "the keeper of the sandboxes is gone" in str(end.outcome.error)
    sandbox.retire()
    with pytest.raises(KeeperError, match="gone"):
        pool.acquire(SPEC)
    with pytest.raises(KeeperError, match="gone"):
        pool.close()
    # Its cgroups are swept by the next one.
    Pool.start().close()


def test_forked_copy_of_the_parent_may_not_lease() -> None:
    pool = Pool.start()
    pid = os.fork()
    if pid == 0:
        try:
            pool.acquire(SPEC)
        except KeeperError:
            pool.close()
            os._exit(17)
        os._exit(1)
    _, status = os.waitpid(pid, 0)
    sandbox = pool.acquire(SPEC)
    end = execution.run(sandbox, Entry(cwd="/"), lambda _: None)
    sandbox.retire()
    pool.close()

    assert os.waitstatus_to_exitcode(status) == 17
    assert end.outcome == Exited(0)


PARENT: Final = textwrap.dedent(
    """
    import os, sys, time
    from pytest_isolate.sandbox.supervise import execution
    from pytest_isolate.sandbox.launch.entry import Entry
    from pytest_isolate.sandbox.pool import Pool
    from pytest_isolate.sandbox.spec import Limits, Spec

    def say(word):
        print(word, flush=True)

    pool = Pool.start(head=os.getppid())  # who runs this test is no stranger to it
    say("started")
    pool.capabilities
    say("greeted")
    spec = Spec(limits=Limits(memory=64 << 20))
    pool.prepare(spec)
    pool.prepare(spec)
    say("ordered")
    sandbox = pool.acquire(spec)
    say("leased")
    execution.run(
        sandbox, Entry(cwd="/"), lambda _: time.sleep(60), on_frame=lambda _: say("confined")
    )
    """
)


@pytest.mark.usefixtures("footprint")
@pytest.mark.parametrize("moment", ["started", "greeted", "ordered", "leased", "confined"])
def test_parents_death_takes_everything_with_it(moment: str) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        for line in parent.stdout:
            if line.decode().strip() == moment:
                break
        family = children_of(parent.pid)
        parent.kill()

    assert family
    for pid in family:
        wait_until(lambda pid=pid: is_gone(pid), f"process {pid} of {family} stays")


@pytest.mark.usefixtures("footprint")
def test_parents_death_at_any_time_leaves_nothing() -> None:
    for step in range(12):
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT],
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        time.sleep(0.08 + step * 0.02)
        family = children_of(parent.pid)
        parent.kill()
        parent.wait()
        for pid in family:
            wait_until(lambda pid=pid: is_gone(pid), f"process {pid} of {family} stays")
