"""Groups on the real kernel: caps hold, deaths leave evidence, and nothing stays behind.

Runs are tried inside a *box*, a group of the test's own with processes that play pytest and the
keeper. So what happens on cgroup v2, where processes move, happens to these and not to this pytest.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from dataclasses import dataclass
import errno
import json
import mmap
import os
from pathlib import Path
import select
import signal
import time
import traceback
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

import pytest

from pytest_isolate.sandbox.cgroups import Cgroups
from pytest_isolate.sandbox.cgroups import Group
from pytest_isolate.sandbox.cgroups import cgroupfs
from pytest_isolate.sandbox.cgroups import delegation
from pytest_isolate.sandbox.cgroups import open_cgroups
from pytest_isolate.sandbox.cgroups import read_evidence
from pytest_isolate.sandbox.cgroups import run_directories
from pytest_isolate.sandbox.cgroups.oom_notifier import notifier_of
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.features import CONTROLLERS
from pytest_isolate.sandbox.features import Capabilities
from pytest_isolate.sandbox.spec import Limits
from pytest_isolate.sandbox.supervise.post_mortem import Answer
from pytest_isolate.sandbox.supervise.post_mortem import PostMortem

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator


pytestmark = pytest.mark.any_python

MIB: Final = 1 << 20
BOX: Final = Limits(memory=256 * MIB, pids=300, cpus=8.0)
#: A user mode kernel forks fifty times slower than a real one.
PATIENCE: Final = 30.0
NOBODY: Final = 65534


@dataclass(frozen=True)
class Talk:
    """One end of two pipes, to talk in lines of JSON."""

    source: int
    sink: int

    def hear(self) -> Any:  # whatever the other side says
        """Return what the other process said, or fail if it ended without a word."""
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.source], [], [], PATIENCE)
            piece = os.read(self.source, 1) if ready else b""
            assert piece, "the other process ended, or hangs, without an answer"
            line += piece
        return json.loads(line)

    def say(self, value: object = None) -> None:
        os.write(self.sink, json.dumps(value).encode() + b"\n")


@dataclass(frozen=True)
class Peer:
    """A forked process."""

    pid: int
    pidfd: int
    talk: Talk

    def hear(self) -> Any:  # whatever the process says
        return self.talk.hear()

    def ended(self, patience: float = PATIENCE) -> bool:
        return bool(select.select([self.pidfd], [], [], patience)[0])

    def kill(self) -> None:
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def status(self) -> int:
        """Return the exit code, negative for a signal; kill the process if it does not end."""
        if not self.ended():
            self.kill()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@contextmanager
def process(play: Callable[[Talk], object], *groups: Group) -> Iterator[Peer]:
    """Fork a process that joins *groups* and plays; it is gone afterwards."""
    to_child, to_parent = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(to_child[1])
        os.close(to_parent[0])
        perform(play, Talk(to_child[0], to_parent[1]), groups)
    os.close(to_child[0])
    os.close(to_parent[1])
    peer = Peer(pid, os.pidfd_open(pid), Talk(to_parent[0], to_child[1]))
    try:
        yield peer
    finally:
        try:
            peer.kill()
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        for fd in (peer.pidfd, peer.talk.source, peer.talk.sink):
            os.close(fd)


def perform(play: Callable[[Talk], object], talk: Talk, groups: tuple[Group, ...]) -> None:
    status = 70
    try:
        for group in groups:
            join(group)
        play(talk)
        status = 0
    except BaseException:  # noqa: BLE001  # the outermost frame of this process
        traceback.print_exc()
    finally:
        os._exit(status)


def join(group: Group) -> None:
    for fd in group.join_fds:
        os.write(fd, b"0")


def sleep(talk: Talk) -> None:
    talk.say(os.getpid())
    time.sleep(2 * PATIENCE)


def touch(size: int) -> None:
    with mmap.mmap(-1, size) as memory:
        for offset in range(0, size, mmap.PAGESIZE):
            memory[offset] = 1


def own_groups() -> str:
    return Path("/proc/self/cgroup").read_text(encoding="utf-8")


def open_fds() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def gone(peer_pidfd: int) -> bool:
    return bool(select.select([peer_pidfd], [], [], PATIENCE)[0])


@pytest.fixture
def cgroups() -> Iterator[Cgroups]:
    """Open the groups for a run of this process; afterwards everything is as it was."""
    before, fds = own_groups(), open_fds()
    opened = open_cgroups(os.getpid())
    paths = opened.paths
    try:
        yield opened
    finally:
        opened.close()
    assert [path for path in paths if os.path.lexists(path)] == []
    # systemd lets nobody come back from a scope.
    assert own_groups() == before or is_scope(opened)
    assert open_fds() == fds


def is_scope(opened: Cgroups) -> bool:
    return any(entry.how.endswith("systemd scope") for entry in opened.capabilities)


@pytest.fixture
def box(cgroups: Cgroups, require: Callable[[str], None]) -> Iterator[Group]:
    """Make a group in every hierarchy that is used; afterwards nothing is in it."""
    for name in CONTROLLERS:
        require(name)
    group = cgroups.create("box", BOX)
    yield group
    left = {path: (cgroupfs.members(path), cgroupfs.subgroups(path)) for path in group.paths}
    group.kill()
    group.remove()
    assert left == {path: (set(), []) for path in left}


def within(box: Group, play: Callable[[Talk], object]) -> Any:  # JSON
    """Return what *play*, in a process in the box, says; it must say one thing and end well."""
    with process(play, box) as peer:
        said = peer.hear()
        assert peer.status() == 0
    return said


# --- what can be had ---


def test_each_controller_is_had_or_explained(cgroups: Cgroups) -> None:
    assert tuple(entry.name for entry in cgroups.capabilities) == CONTROLLERS
    for entry in cgroups.capabilities:
        if entry.available:
            assert entry.how.startswith("cgroup v")
            assert (entry.why, entry.fix, entry.code) == ("", "", 0)
        else:
            assert entry.why
            assert entry.fix


@pytest.mark.needs("memory")
def test_a_group_that_is_removed_rings_and_nothing_is_looked_into(cgroups: Cgroups) -> None:
    cap = 64 * MIB
    group = cgroups.create("gone", Limits(memory=cap))
    group.arm(cap)
    notifier = notifier_of({name: os.dup(fd) for name, fd in group.notifier_fds.items()}, cap)
    assert notifier is not None
    ringing = select.poll()
    ringing.register(notifier.fd, notifier.mask)
    group.close_fds()
    group.remove()

    # No process and no sandbox are asked: they may be gone as well.
    nobody: Any = None
    assert ringing.poll(PATIENCE * 1000)
    assert PostMortem(nobody, nobody, None).answer(notifier) is Answer.ENOUGH
    assert (notifier.usage(), notifier.statistics()) == (0, {})
    notifier.close()


@pytest.mark.needs(*CONTROLLERS)
def test_each_controller_that_is_had_can_cap(cgroups: Cgroups) -> None:
    group = cgroups.create("all", Limits(memory=64 * MIB, pids=16, cpus=0.5))

    told = {
        name: (Path(path) / name).read_text(encoding="ascii").split()[0]
        for path in group.paths
        for name in (
            "memory.limit_in_bytes",
            "memory.max",
            "memory.swap.max",
            "pids.max",
            "cpu.max",
            "cpu.cfs_quota_us",
        )
        if (Path(path) / name).exists()
    }
    group.remove()

    assert told.pop("memory.swap.max", "0") == "0"
    assert sorted(told.values()) == sorted([str(64 * MIB), "16", "50000"])


def test_nothing_is_made_for_no_caps(cgroups: Cgroups) -> None:
    group = cgroups.create("nothing", Limits())

    assert (group.join_fds, group.counter_fds, group.paths) == ((), {}, ())


def test_controllers_of_one_hierarchy_share_a_group(box: Group, cgroups: Cgroups) -> None:
    assert len(box.paths) == len(set(box.paths)) == len(box.join_fds) == len(cgroups.paths)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_user_without_delegation_is_told_in_a_few_words(cgroups: Cgroups) -> None:
    if any(entry.code == errno.EROFS for entry in cgroups.capabilities):
        pytest.skip("the cgroup file system is mounted read-only")

    def play(talk: Talk) -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        opened = open_cgroups(os.getpid())
        try:
            opened.create("capped", Limits(memory=MIB))
        except SandboxError as error:
            talk.say([[asdict(entry) for entry in opened.capabilities], str(error)])
        opened.close()

    with process(play) as peer:
        entries, error = peer.hear()
    found = Capabilities.from_json(entries)

    for name, entry in found.items():
        assert not entry.available
        # That of the memory goes on: with what else was tried to get one.
        assert entry.why.split("; ")[0] == f"no writable {name} cgroup"
        assert entry.errno_name == "EACCES"
    assert error == f"memory cap: {found['memory'].why} ({found['memory'].fix})"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can delegate")
def test_fix_for_v1_works(cgroups: Cgroups, box: Group) -> None:
    if {entry.how for entry in cgroups.capabilities} != {"cgroup v1"}:
        pytest.skip("a controller is on cgroup v2")
    for path in box.paths:
        own = Path(path) / "uid"
        own.mkdir()
        for entry in (own, *own.iterdir()):
            os.chown(entry, NOBODY, NOBODY)

    def play(talk: Talk) -> None:
        for path in box.paths:
            cgroupfs.write(f"{path}/uid/cgroup.procs", "0")
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        opened = open_cgroups(os.getpid())
        talk.say([entry.available for entry in opened.capabilities])
        opened.close()

    assert within(box, play) == [True, True, True]
    for path in box.paths:
        (Path(path) / "uid").rmdir()


# --- caps ---


def test_oom_kill_is_counted_as_one(cgroups: Cgroups, box: Group) -> None:
    del box  # its requirements are needed
    group = cgroups.create("hog", Limits(memory=16 * MIB))
    with process(lambda _: touch(64 * MIB), group) as peer:
        status = peer.status()

    found = read_evidence(group.counter_fds)
    group.remove()

    assert status == -signal.SIGKILL
    assert found.oom_kills is not None
    assert found.oom_kills >= 1
    assert found.limit_hits
    assert found.memory_peak is not None
    assert 12 * MIB < found.memory_peak <= 16 * MIB


def test_kill_by_anybody_else_is_not_counted_as_oom_kill(cgroups: Cgroups, box: Group) -> None:
    del box
    group = cgroups.create("victim", Limits(memory=16 * MIB))
    with process(sleep, group) as peer:
        peer.hear()
        peer.kill()
        status = peer.status()

    found = read_evidence(group.counter_fds)
    group.remove()

    assert (status, found.oom_kills, found.limit_hits) == (-signal.SIGKILL, 0, 0)


def test_oom_kill_is_not_counted_in_a_sibling(cgroups: Cgroups, box: Group) -> None:
    del box
    hog, innocent = (cgroups.create(name, Limits(memory=16 * MIB)) for name in ("hog", "innocent"))
    with process(sleep, innocent) as sleeper:
        sleeper.hear()
        with process(lambda _: touch(64 * MIB), hog) as peer:
            assert peer.status() == -signal.SIGKILL
        found = read_evidence(innocent.counter_fds)
        assert not sleeper.ended(patience=0)
    hog.remove()
    innocent.remove()

    assert (found.oom_kills, found.limit_hits) == (0, 0)


def test_oom_kill_by_an_outer_limit_is_told_from_the_own(cgroups: Cgroups, box: Group) -> None:
    del box
    outer = cgroups.create("outer", Limits(memory=32 * MIB))

    def play(talk: Talk) -> None:
        opened = open_cgroups(os.getpid())
        inner = opened.create("inner", Limits(memory=1024 * MIB))
        with process(lambda _: touch(128 * MIB), inner) as peer:
            status = peer.status()
        talk.say([status, asdict(read_evidence(inner.counter_fds))])
        inner.remove()
        opened.close()

    status, found = within(outer, play)
    outer.remove()

    assert status == -signal.SIGKILL
    assert found["oom_kills"] >= 1
    assert found["limit_hits"] == 0


def test_process_above_the_cap_is_refused_with_eagain(cgroups: Cgroups, box: Group) -> None:
    del box
    group = cgroups.create("forker", Limits(pids=5))

    def play(talk: Talk) -> None:
        children = 0
        try:
            while children < 50:
                if os.fork() == 0:
                    time.sleep(2 * PATIENCE)
                    os._exit(0)
                children += 1
        except OSError as error:
            talk.say([children, error.errno])
        time.sleep(2 * PATIENCE)

    with process(play, group) as peer:
        said = peer.hear()
        found = read_evidence(group.counter_fds)
        group.kill()
        assert peer.status() == -signal.SIGKILL
    group.remove()

    assert said == [4, errno.EAGAIN]
    assert found.pids_peak in {5, None}


def test_process_gets_no_more_cpu_than_its_cap(cgroups: Cgroups, box: Group) -> None:
    del box
    group = cgroups.create("spinner", Limits(cpus=0.2))

    def play(talk: Talk) -> None:
        begun = time.monotonic()
        while time.monotonic() < begun + 1:
            pass
        talk.say([time.process_time(), time.monotonic() - begun])

    with process(play, group) as peer:
        spent, elapsed = peer.hear()
    stat = next(
        text
        for path in group.paths
        if "nr_throttled" in (text := (Path(path) / "cpu.stat").read_text(encoding="ascii"))
    )
    group.remove()

    assert spent <= 0.2 * elapsed + 0.2
    assert int(stat.split("nr_throttled ")[1].split()[0]) > 0


def test_cpu_cap_above_an_outer_one_is_no_error(cgroups: Cgroups, box: Group) -> None:
    del box
    outer = cgroups.create("outer", Limits(memory=64 * MIB, pids=100, cpus=0.5))

    def play(talk: Talk) -> None:
        opened = open_cgroups(os.getpid())
        inner = opened.create("inner", Limits(cpus=1.0))
        talk.say([entry.available for entry in opened.capabilities])
        inner.remove()
        opened.close()

    assert within(outer, play) == [True, True, True]
    outer.remove()


# --- killing and removing ---


def test_kill_ends_even_those_that_keep_forking(cgroups: Cgroups, box: Group) -> None:
    del box
    group = cgroups.create("chain", Limits(memory=64 * MIB, pids=20))

    def play(talk: Talk) -> None:
        end = time.monotonic() + 2 * PATIENCE
        talk.say()
        while time.monotonic() < end:
            if os.fork():
                os._exit(0)

    with process(play, group) as peer:
        peer.hear()
        assert peer.ended()
        assert any(cgroupfs.members(path) for path in group.paths)
        group.kill()
        left = set().union(*(cgroupfs.members(path) for path in group.paths))
        group.remove()

    assert left == set() or not any(os.path.lexists(path) for path in group.paths)


def test_subgroups_that_a_test_made_are_killed_and_removed(cgroups: Cgroups, box: Group) -> None:
    del box
    group = cgroups.create("nested", Limits(pids=20))
    (path,) = group.paths
    deep = Path(path) / "a" / "b"
    deep.mkdir(parents=True)

    def play(talk: Talk) -> None:
        cgroupfs.write(f"{deep}/cgroup.procs", "0")
        sleep(talk)

    with process(play) as peer:
        peer.hear()
        assert peer.pid in cgroupfs.members(os.fspath(deep))
        group.kill()
        assert peer.status() == -signal.SIGKILL
    group.remove()

    assert not os.path.lexists(path)


def test_group_is_removed_as_soon_as_its_killed_processes_have_left(
    cgroups: Cgroups, box: Group
) -> None:
    del box
    for turn in range(20):
        group = cgroups.create(f"turn{turn}", Limits(memory=64 * MIB))
        with process(sleep, group) as peer:
            peer.hear()
            peer.kill()
            group.remove()
        assert group.paths == ()


def test_group_with_a_living_process_is_not_removed_silently(
    cgroups: Cgroups, box: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    del box
    group = cgroups.create("busy", Limits(pids=20))
    (path,) = group.paths
    with process(sleep, group) as peer:
        peer.hear()
        monkeypatch.setattr(cgroupfs.remove, "__defaults__", (0.05,))
        with pytest.raises(SandboxError, match=f"^rmdir {path}: Device or resource busy$"):
            group.remove()
    Path(path).rmdir()


def test_removed_twice_is_no_error(cgroups: Cgroups, box: Group) -> None:
    del box
    group = cgroups.create("once", Limits(pids=20))
    group.remove()
    group.remove()
    group.kill()


def test_counters_of_a_removed_group_count_nothing(cgroups: Cgroups, box: Group) -> None:
    del box
    group = cgroups.create("short", Limits(memory=16 * MIB))
    kept = {label: os.dup(fd) for label, fd in group.counter_fds.items()}
    group.remove()

    try:
        assert read_evidence(kept).oom_kills is None
    finally:
        for fd in kept.values():
            os.close(fd)


def test_many_groups_leave_no_descriptor_and_no_directory(cgroups: Cgroups, box: Group) -> None:
    del box
    fds, before = open_fds(), [cgroupfs.subgroups(path) for path in cgroups.paths]

    for turn in range(100):
        group = cgroups.create(f"turn{turn}", BOX)
        group.close_fds()
        group.remove()

    assert open_fds() == fds
    assert [cgroupfs.subgroups(path) for path in cgroups.paths] == before


def test_close_removes_what_is_still_there(box: Group) -> None:
    def play(talk: Talk) -> None:
        opened = open_cgroups(os.getpid())
        group = opened.create("left", BOX)
        with process(sleep, group) as peer:
            peer.hear()
            opened.close()
            talk.say(peer.status())

    assert within(box, play) == -signal.SIGKILL


def test_group_that_cannot_be_limited_leaves_nothing(cgroups: Cgroups, box: Group) -> None:
    del box
    before, fds = [cgroupfs.subgroups(path) for path in cgroups.paths], open_fds()

    with pytest.raises(SandboxError, match="Invalid argument"):
        cgroups.create("wrong", Limits(memory=64 * MIB, pids=-5))

    assert [cgroupfs.subgroups(path) for path in cgroups.paths] == before
    assert open_fds() == fds


# --- other runs ---


def crash(talk: Talk) -> None:
    """Play a keeper with one sandbox, that gets killed while a process is in there."""
    opened = open_cgroups(os.getppid())
    group = opened.create("sandbox", BOX)
    pid = os.fork()
    if pid == 0:
        join(group)
        for fd in opened.lock_fds:
            os.close(fd)
        talk.say(os.getppid())
        time.sleep(2 * PATIENCE)
        os._exit(0)
    talk.say([pid, opened.paths])
    time.sleep(2 * PATIENCE)


def test_next_run_sweeps_what_a_crashed_one_left(box: Group) -> None:
    def play(talk: Talk) -> None:
        with process(crash) as keeper:
            first, second = keeper.hear(), keeper.hear()
            pid, paths = first if isinstance(first, list) else second
            pidfd = os.pidfd_open(pid)
            keeper.kill()
            keeper.status()
        left = [os.path.lexists(f"{path}/sandbox") for path in paths]
        opened = open_cgroups(os.getpid())
        swept = [not os.path.lexists(f"{path}/sandbox") for path in paths]
        ended = gone(pidfd)
        opened.close()
        removed = [not os.path.lexists(path) for path in paths]
        talk.say([all(left), all(swept), ended, all(removed)])

    assert within(box, play) == [True, True, True, True]


@pytest.mark.parametrize("first", ["this run leaves first", "the other run leaves first"])
def test_runs_beside_each_other_leave_each_other_alone(first: str, box: Group) -> None:
    def other(talk: Talk) -> None:
        opened = open_cgroups(os.getppid())
        group = opened.create("sandbox", BOX)
        with process(sleep, group) as sleeper:
            talk.say([sleeper.hear(), group.paths])
            talk.hear()
            alive = not sleeper.ended(patience=0)
            group.kill()
            group.remove()
        opened.close()
        talk.say(alive)

    def play(talk: Talk) -> None:
        with process(other) as peer:
            pid, paths = peer.hear()
            opened = open_cgroups(os.getpid())
            mine = opened.create("sandbox", BOX)
            if first == "this run leaves first":
                mine.remove()
                opened.close()
            apart = set(paths).isdisjoint(mine.paths)
            joined = all(pid in cgroupfs.members(path) for path in paths)
            peer.talk.say()
            alive = peer.hear()
            peer.status()
        with process(lambda _: join(mine)) as visitor:
            usable = visitor.status() == 0
        mine.remove()
        opened.close()
        talk.say([apart, joined, alive, usable])

    assert within(box, play) == [True, True, True, True]


def test_run_directory_is_never_swept_between_its_making_and_its_locking(
    cgroups: Cgroups, box: Group
) -> None:
    (base, *_) = box.paths
    del cgroups

    def play(talk: Talk) -> None:
        for _ in range(50):
            run = run_directories.create(base)
            run_directories.sweep(base, run.path)
            # Whoever has a run may rely on it, however many others sweep meanwhile.
            Path(f"{run.path}/sandbox").mkdir()
            os.sched_yield()
            Path(f"{run.path}/sandbox").rmdir()
            run_directories.clear(run.path)
            run.unlock()
        talk.say("done")

    with process(play) as one, process(play) as two, process(play) as three:
        peers = (one, two, three)
        assert [peer.hear() for peer in peers] == ["done"] * 3
        assert [peer.status() for peer in peers] == [0, 0, 0]
    run_directories.sweep(base, "")


def test_keeper_cleans_up_after_a_dead_parent(box: Group) -> None:
    def keeper(talk: Talk) -> None:
        parent = os.getppid()
        opened = open_cgroups(parent)
        group = opened.create("sandbox", BOX)
        with process(sleep, group) as sleeper:
            sleeper.hear()
            talk.say([opened.paths, [entry.available for entry in opened.capabilities]])
            while os.getppid() == parent:
                time.sleep(0.01)
            opened.close()

    def parent(talk: Talk) -> None:
        with process(keeper) as peer:
            talk.say([peer.pid, *peer.hear()])
            time.sleep(2 * PATIENCE)

    with process(parent, box) as peer:
        pid, paths, available = peer.hear()
        pidfd = os.pidfd_open(pid)
        peer.kill()
        peer.status()
    ended = gone(pidfd)
    os.close(pidfd)

    assert available == [True, True, True]
    assert ended
    assert [path for path in paths if os.path.lexists(path)] == []


# --- cgroup v2: moving out of the way ---


@pytest.fixture
def unified_box(cgroups: Cgroups, box: Group) -> str:
    """Return the directory of the box if all controllers are on cgroup v2, or skip."""
    if not all(entry.how.startswith("cgroup v2") for entry in cgroups.capabilities):
        reason = "a controller is on cgroup v1"
        pytest.skip(reason)
    return box.paths[0]


def test_pytest_and_its_descendants_move_out_and_back(box: Group, unified_box: str) -> None:
    def play(talk: Talk) -> None:
        with process(sleep) as child:
            child.hear()
            opened = open_cgroups(os.getpid())
            (path,) = opened.paths
            there = cgroupfs.members(f"{path}/{run_directories.MAIN}") == {os.getpid(), child.pid}
            opened.close()
            talk.say([there, cgroupfs.members(unified_box) == {os.getpid(), child.pid}])

    assert within(box, play) == [True, True]
    assert cgroupfs.read(f"{unified_box}/cgroup.subtree_control") == ""


def test_strangers_are_named_and_nobody_moves(box: Group, unified_box: str) -> None:
    def play(talk: Talk) -> None:
        for bus in ("SESSION", "SYSTEM"):  # systemd would give it a group of its own
            os.environ[f"DBUS_{bus}_BUS_ADDRESS"] = "unix:path=/nowhere"
        before = cgroupfs.members(unified_box)
        opened = open_cgroups(os.getpid())
        entries = [asdict(entry) for entry in opened.capabilities]
        opened.close()
        talk.say([entries, cgroupfs.members(unified_box) == before])

    with process(sleep, box) as stranger:
        stranger.hear()
        entries, unmoved = within(box, play)
        name = delegation.name(stranger.pid)

    for entry in Capabilities.from_json(entries).values():
        assert not entry.available
        assert entry.why.split("; ")[0] == f"cgroup shared with {name} ({stranger.pid})"
        assert entry.errno_name == "EBUSY"
        assert "systemd-run" in entry.fix or "exec pytest" in entry.fix
    assert unmoved
    assert cgroupfs.subgroups(unified_box) == []


def test_controller_that_cannot_be_enabled_does_not_take_the_others_along(
    box: Group, unified_box: str
) -> None:
    del box
    failures = delegation.enable(unified_box, ("nonesuch", "pids"))
    given = delegation.distributed(unified_box)
    cgroupfs.write(f"{unified_box}/cgroup.subtree_control", "-pids")

    assert {name: error.errno for name, error in failures.items()} == {"nonesuch": errno.EINVAL}
    assert given == ["pids"]


def test_parallel_workers_move_their_common_parent_once(box: Group, unified_box: str) -> None:
    def worker(talk: Talk) -> None:
        opened = open_cgroups(os.getppid())
        talk.say([entry.why for entry in opened.capabilities])
        for turn in range(5):
            group = opened.create(f"turn{turn}", BOX)
            with process(sleep, group) as visitor:
                visitor.hear()
                group.kill()
                talk.say(visitor.status())
            group.remove()
        opened.close()

    def play(talk: Talk) -> None:
        with process(worker) as one, process(worker) as two, process(worker) as three:
            peers = (one, two, three)
            said = [[peer.hear() for _ in range(6)] for peer in peers]
            statuses = [peer.status() for peer in peers]
        talk.say([said, statuses, os.getpid() in cgroupfs.members(unified_box)])

    said, statuses, back = within(box, play)

    assert said == [[["", "", ""], *[-signal.SIGKILL] * 5]] * 3
    assert statuses == [0, 0, 0]
    assert back
    assert cgroupfs.subgroups(unified_box) == []
    assert cgroupfs.read(f"{unified_box}/cgroup.subtree_control") == ""


def test_new_keeper_takes_over_where_one_crashed(box: Group, unified_box: str) -> None:
    def play(talk: Talk) -> None:
        with process(crash) as keeper:
            keeper.hear()
            keeper.hear()
            keeper.kill()
            keeper.status()
        moved = os.getpid() not in cgroupfs.members(unified_box)
        opened = open_cgroups(os.getpid())
        group = opened.create("sandbox", BOX)
        with process(lambda _: None, group) as visitor:
            usable = visitor.status() == 0
        group.remove()
        opened.close()
        talk.say([moved, usable, os.getpid() in cgroupfs.members(unified_box)])

    assert within(box, play) == [True, True, True]
    assert cgroupfs.subgroups(unified_box) == []
