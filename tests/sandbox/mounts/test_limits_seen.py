"""A sandbox's own limits are where programs look for them, to be read; nobody else's are seen."""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
import shutil
import subprocess
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

import pytest

from pytest_isolate.sandbox.linux import capabilities
from pytest_isolate.sandbox.linux import libc  # the calls that Python lacks
from pytest_isolate.sandbox.spec import HostRoot
from pytest_isolate.sandbox.spec import Limits
from pytest_isolate.sandbox.spec import MinimalRoot
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Root
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_isolate.sandbox.pool import Pool

pytestmark = [pytest.mark.any_python, pytest.mark.needs("sandbox", "memory")]

MIB: Final = 1 << 20
CAP: Final = 512 * MIB
CAPPED: Final = Limits(memory=CAP)
SEEN: Final = Path("/sys/fs/cgroup")


def found() -> tuple[int, list[int]]:
    """Return the memory limit that a program finds, as runtimes look for it, and who is in it.

    The group is that of /proc/self/cgroup, below the mount of its hierarchy that mountinfo tells.
    """
    rows = [line.split(":", 2) for line in read("/proc/self/cgroup").splitlines()]
    groups = {controller: path for _, names, path in rows for controller in names.split(",")}
    legacy = "memory" in groups
    name, fstype = ("memory.limit_in_bytes", "cgroup") if legacy else ("memory.max", "cgroup2")
    for line in read("/proc/self/mountinfo").splitlines():
        fields, _, tail = line.partition(" - ")
        root, point = fields.split()[3:5]
        found_type, _, options = tail.split()[:3]
        if found_type == fstype and (not legacy or "memory" in options.split(",")):
            assert root == groups["memory" if legacy else ""] == "/"
            members = [int(pid) for pid in read(f"{point}/cgroup.procs").split()]
            return int(read(f"{point}/{name}")), members
    raise LookupError(rows)


def read(path: Path | str) -> str:
    return Path(path).read_text(encoding="utf-8")


def where_all_look() -> int:
    """Return the limit at the path that programs have built in."""
    paths = [SEEN / "memory/memory.limit_in_bytes", SEEN / "memory.max"]
    return next(int(read(path)) for path in paths if path.exists())


@pytest.mark.parametrize("root", [HostRoot(), MinimalRoot()], ids=["host", "minimal"])
@pytest.mark.parametrize("network", [Network.LOOPBACK, Network.HOST])
@pytest.mark.parametrize("user", list(User))
def test_the_cap_is_found_as_runtimes_look_for_it(
    ask: Callable[..., Any], user: User, network: Network, root: Root
) -> None:
    def look() -> object:
        # Mounts of the host that an ordinary user cannot take off are only covered.
        covers = network is Network.HOST and not privileged
        limit, members = (CAP, [os.getpid()]) if covers else found()
        return [limit, os.getpid() in members, where_all_look()]

    privileged = capabilities.is_machine_root()
    spec = Spec(user=user, network=network, root=root, limits=CAPPED)

    assert ask(look, spec) == [CAP, True, CAP]


def test_each_sandbox_sees_its_own_cap(pool: Pool, ask: Callable[..., Any]) -> None:
    other = pool.acquire(Spec(limits=Limits(memory=64 * MIB)))
    try:
        assert ask(where_all_look, Spec(limits=CAPPED)) == CAP
    finally:
        other.retire()


@pytest.mark.parametrize("network", [Network.LOOPBACK, Network.HOST])
@pytest.mark.parametrize("user", list(User))
def test_without_a_cap_nobody_elses_groups_are_seen(
    ask: Callable[..., Any], user: User, network: Network
) -> None:
    assert ask(lambda: os.listdir(SEEN), Spec(user=user, network=network)) == []


@pytest.mark.parametrize("network", [Network.LOOPBACK, Network.HOST])
@pytest.mark.parametrize("user", list(User))
def test_no_path_leads_to_the_groups_of_others(
    pool: Pool, ask: Callable[..., Any], user: User, network: Network
) -> None:
    def look() -> list[str]:
        tops = [SEEN, *(path for path in SEEN.iterdir() if path.is_dir())]
        for top in tops[1:]:  # what a mount covers is locked below it
            take_off(top)
        groups = [name for top in tops for name in os.listdir(top) if (top / name).is_dir()]
        files = [path for path in SEEN.iterdir() if path.is_file()]
        known = {path.name for path in tops}
        outside = [os.path.realpath(top / "..") for top in tops]
        strange = [place for place in outside if place not in {"/sys/fs", "/sys/fs/cgroup"}]
        take_off(SEEN)  # a rootless sandbox's root may do without
        left = [name for name in os.listdir(SEEN) if SEEN / name not in {*tops, *files}]
        return [*strange, *left, *(name for name in groups if name not in known)]

    other = pool.acquire(Spec(limits=CAPPED))
    try:
        assert ask(look, Spec(user=user, network=network, limits=CAPPED)) == []
    finally:
        other.retire()


@pytest.mark.parametrize("network", [Network.LOOPBACK, Network.HOST])
@pytest.mark.parametrize("user", list(User))
def test_no_limit_can_be_changed_there(
    ask: Callable[..., Any], user: User, network: Network
) -> None:
    def change() -> list[str]:
        places = [SEEN, *(path for path in SEEN.iterdir() if path.is_dir())]
        for place in places:
            with suppress(OSError):
                libc.mount(None, str(place), None, libc.MS_REMOUNT | libc.MS_BIND)
        files = [path for place in places for path in place.iterdir() if path.is_file()]
        done = [str(path) for path in files if did(open, path, "r+b")]
        done += [str(place) for place in places if did(os.mkdir, place / "mine")]
        take_off(SEEN)
        left = [path for place in places for path in below(place) if path.is_file()]
        return [*done, *(f"below: {path}" for path in left if did(open, path, "r+b"))]

    spec = Spec(user=user, network=network, limits=CAPPED)

    assert ask(change, spec) == []


def take_off(place: Path) -> None:
    with suppress(OSError):
        while True:
            libc.umount2(str(place), libc.MNT_DETACH)


def below(place: Path) -> list[Path]:
    return list(place.iterdir()) if place.exists() else []


def did(call: Callable[..., object], *arguments: object) -> bool:
    try:
        call(*arguments)
    except OSError:
        return False
    return True


def test_a_cap_on_processes_alone_is_seen_too(
    require: Callable[[str], None], ask: Callable[..., Any]
) -> None:
    require("pids")

    def look() -> list[str]:
        paths = [path for path in (SEEN / "pids/pids.max", SEEN / "pids.max") if path.exists()]
        return [read(path).strip() for path in paths]

    assert ask(look, Spec(limits=Limits(pids=77))) == ["77"]


def told(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    return done.stdout


@pytest.mark.skipif(not shutil.which("node"), reason="needs node")
def test_node_sees_the_cap(ask: Callable[..., Any]) -> None:
    line = "console.log(process.constrainedMemory())"

    assert ask(lambda: told("node", "-e", line), Spec(limits=CAPPED)).strip() == str(CAP)


@pytest.mark.skipif(not shutil.which("java"), reason="needs java")
def test_a_jvm_sizes_its_heap_by_the_cap(ask: Callable[..., Any]) -> None:
    if "\ncpuset\t" not in read("/proc/cgroups"):
        pytest.skip("before version 24 a JVM looks at no limit on a kernel without cpuset")

    def heap() -> int:
        flags = told("java", "-XX:+PrintFlagsFinal", "-version").splitlines()
        return next(int(line.split()[3]) for line in flags if " MaxHeapSize " in line)

    assert ask(heap, Spec(limits=CAPPED)) == CAP // 4  # the default share


@pytest.mark.skipif(not shutil.which("java"), reason="needs java")
def test_the_metrics_of_a_jvm_are_those_of_the_cap(ask: Callable[..., Any]) -> None:
    if "\ncpuset\t" not in read("/proc/cgroups"):
        pytest.skip("before version 24 a JVM looks at no limit on a kernel without cpuset")

    def tell() -> str:
        command = ["java", "-XshowSettings:system", "-version"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr

    assert "Memory Limit: 512.00M" in ask(tell, Spec(limits=CAPPED))
