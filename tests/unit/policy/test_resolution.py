"""What was asked for is had in full or refused by name; a default goes as far as it can."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_isolate.policy.model import Origin
from pytest_isolate.policy.model import Policy
from pytest_isolate.policy.model import Source
from pytest_isolate.policy.resolution import Note
from pytest_isolate.policy.resolution import Resolved
from pytest_isolate.policy.resolution import Unavailable
from pytest_isolate.policy.resolution import resolve
from pytest_isolate.sandbox.features import CONTROLLERS
from pytest_isolate.sandbox.features import NAMESPACES
from pytest_isolate.sandbox.features import OTHERS
from pytest_isolate.sandbox.features import ROOT_STEPS
from pytest_isolate.sandbox.features import Capabilities
from pytest_isolate.sandbox.features import Capability
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import HostRoot
from pytest_isolate.sandbox.spec import Limits
from pytest_isolate.sandbox.spec import MinimalRoot
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from pathlib import Path


INI = Origin(Source.INI)
LINE = Origin(Source.COMMAND_LINE)
MARKER = Origin(Source.MARKER, "test_x.py::test_a")
ORIGINS = (INI, LINE, MARKER, Origin(Source.HOOK))
CAPS = ("memory", "pids", "cpu")


def machine(*lacking: str) -> Capabilities:
    """Return a machine that gives everything but what is *lacking*."""
    return Capabilities(
        *(
            Capability(name=name, available=False, why=f"{name}: refused", fix="fix it", code=1)
            if name in lacking
            else Capability(name=name, available=True, how="ABI 9")
            for name in (*NAMESPACES, *ROOT_STEPS, *OTHERS, *CONTROLLERS)
        )
    )


def test_specifications_are_equal_whoever_asked() -> None:
    policies = [Policy(), *(Policy().override(o, {"memory": "1G", "timeout": 3}) for o in ORIGINS)]

    assert len({resolve(policy, machine()) for policy in policies}) == 1


def test_default_policy_is_the_default_sandbox() -> None:
    caps = Limits(memory=1024**3, pids=1024)

    assert resolve(Policy(), machine()) == Resolved(Spec(limits=caps))


def test_specification_has_what_the_policy_says(tmp_path: Path) -> None:
    policy = Policy().override(
        MARKER,
        {
            "memory": "5M",
            "pids": 3,
            "cpus": 1.5,
            "network": "none",
            "rootfs": tmp_path,
            "hostname": "box",
            "user": "root",
            "writable": [tmp_path],
        },
    )

    assert resolve(policy, machine()) == Resolved(
        Spec(
            hostname="box",
            network=Network.NONE,
            user=User.ROOT,
            root=DirectoryRoot(str(tmp_path)),
            limits=Limits(memory=5 * 1024**2, pids=3, cpus=1.5),
            writable=(str(tmp_path),),
        )
    )


def test_default_cap_that_cannot_be_had_is_dropped_and_noted() -> None:
    assert resolve(Policy(), machine(*CAPS)) == Resolved(
        Spec(),
        (
            Note("memory cap none (no writable memory cgroup)", "memory"),
            Note("pids cap none (no writable pids cgroup)", "pids"),
        ),
    )


def test_cap_that_is_switched_off_needs_no_cgroup() -> None:
    policy = Policy().override(MARKER, {"memory": None, "pids": "none"})

    assert resolve(policy, machine(*CAPS)) == Resolved(Spec())


@pytest.mark.parametrize("origin", ORIGINS, ids=lambda origin: origin.source)
@pytest.mark.parametrize("recourse", ["fail", "skip"])
def test_cap_that_was_asked_for_is_never_dropped(origin: Origin, recourse: str) -> None:
    policy = Policy().override(LINE, {"unavailable": recourse}).override(origin, {"memory": "1G"})

    resolution = resolve(policy, machine("memory"))

    assert isinstance(resolution, Unavailable)
    place = origin.name("memory")
    assert str(resolution.error) == f"memory 1.0 GiB ({place}): memory: refused (fix it)"
    assert resolution.error.code == 1


def test_every_cap_that_was_asked_for_and_lacks_is_named() -> None:
    policy = Policy().override(LINE, {"pids": 3, "cpus": 1.5})

    resolution = resolve(policy, machine(*CAPS))

    assert isinstance(resolution, Unavailable)
    assert resolution.error.what == "pids 3 (--isolate-pids), cpus 1.5 (--isolate-cpus)"
    assert resolution.error.why == "pids: refused"


def test_degrade_drops_what_was_asked_for_and_notes_it() -> None:
    policy = Policy().override(LINE, {"unavailable": "degrade", "memory": "5M", "cpus": 2})

    assert resolve(policy, machine("memory", "cpu")) == Resolved(
        Spec(limits=Limits(pids=1024), watched=5 << 20),
        (
            Note("memory cap: watched, 5.0 MiB (no writable memory cgroup)", "memory"),
            Note("cpus cap none (no writable cpu cgroup)", "cpus"),
        ),
    )


@pytest.mark.parametrize(
    "lacking", ["userns", "mnt", "pid", "uts", "ipc", "cgroup", "overlay", "proc", "pivot_root"]
)
def test_without_a_part_of_every_sandbox_there_is_none(lacking: str) -> None:
    resolution = resolve(Policy(), machine(lacking))

    assert isinstance(resolution, Unavailable)
    assert str(resolution.error) == f"a sandbox's {lacking}: {lacking}: refused (fix it)"


@pytest.mark.parametrize("lacking", ["userns", "mnt", "pid", "overlay", "proc", "pivot_root"])
def test_degraded_without_a_part_of_every_sandbox_it_is_partial(lacking: str) -> None:
    degraded = Policy().override(INI, {"unavailable": "degrade"})

    assert resolve(degraded, machine(lacking)) == Resolved(
        Spec(
            partial=True,
            landlock=True,
            hostname=None,
            network=Network.HOST,
            limits=Limits(memory=1024**3, pids=1024),
        ),
        (
            Note(f"partial (no {lacking})"),
            Note("Landlock (ABI 9)"),
            Note("network host (no net)", "network"),
            Note("hostname kept (no hostname)", "hostname"),
        ),
    )


def test_partial_without_landlock_says_what_is_not_protected() -> None:
    degraded = Policy().override(INI, {"unavailable": "degrade"})
    resolution = resolve(degraded, machine("mnt", "landlock"))

    assert isinstance(resolution, Resolved)
    assert not resolution.spec.landlock
    assert Note("files not protected (no landlock)") in resolution.notes


def test_partial_drops_what_takes_a_namespace_by_name() -> None:
    policy = Policy().override(
        MARKER,
        {"rootfs": "minimal", "user": "root", "hostname": "box", "network": "none"},
    )
    run = {"unavailable": "degrade", "report_leaks": "fail", "keep": "all"}
    resolution = resolve(policy.override(INI, run), machine("userns"))

    assert isinstance(resolution, Resolved)
    assert not resolution.spec.surveyed
    assert resolution.spec.network is Network.NONE
    assert resolution.spec.user is User.KEEP
    assert resolution.spec.root == HostRoot()
    assert resolution.notes[2:] == (
        Note("network none (TCP alone)", "network"),
        Note("hostname kept (no hostname)", "hostname"),
        Note("rootfs host (no mnt)", "rootfs"),
        Note("report_leaks off (no mnt)", "report_leaks"),
        Note("keep none (no mnt)", "keep"),
        Note("user keep (no userns)", "user"),
    )


def test_partial_without_a_landlock_that_knows_tcp_has_the_host_s_network() -> None:
    policy = Policy().override(MARKER, {"network": "none"})
    refused = Capability(name="userns", available=False)
    old = Capability(name="landlock", available=True, lacks="TCP is free before Linux 6.7")
    resolution = resolve(
        policy.override(INI, {"unavailable": "degrade"}), Capabilities(refused, old)
    )

    assert isinstance(resolution, Resolved)
    assert resolution.spec.network is Network.HOST


def test_host_name_that_was_asked_for_is_never_dropped() -> None:
    policy = Policy().override(LINE, {"hostname": "box"})
    resolution = resolve(policy, machine("hostname"))

    assert isinstance(resolution, Unavailable)
    assert resolution.error.what == "hostname box (--isolate-hostname)"
    assert resolve(Policy(), machine("hostname")) == Resolved(
        Spec(hostname=None, limits=Limits(memory=1024**3, pids=1024)),
        (Note("hostname kept (no hostname)", "hostname"),),
    )


def test_what_the_kernel_refused_comes_before_what_was_not_tried() -> None:
    untried = Capability(name="overlay", available=False, why="not tried, for: pivot_root .")
    found = [entry for entry in machine("pivot_root").values() if entry.name != "overlay"]
    resolution = resolve(Policy(), Capabilities(untried, *found))

    assert isinstance(resolution, Unavailable)
    assert resolution.error.what == "a sandbox's pivot_root"


def test_first_missing_part_is_the_reason() -> None:
    resolution = resolve(Policy(), Capabilities())

    assert isinstance(resolution, Unavailable)
    assert str(resolution.error) == "a sandbox's userns: not tried"


def test_minimal_root_needs_no_overlay() -> None:
    policy = Policy().override(MARKER, {"rootfs": "minimal", "memory": None, "pids": None})

    assert resolve(policy, machine("overlay")) == Resolved(Spec(root=MinimalRoot()))


def test_host_network_needs_no_network_namespace() -> None:
    policy = Policy().override(MARKER, {"network": "host", "memory": None, "pids": None})

    assert resolve(policy, machine("net")) == Resolved(Spec(network=Network.HOST))


def test_default_network_is_not_dropped_for_the_host_s() -> None:
    resolution = resolve(Policy(), machine("net"))

    assert isinstance(resolution, Unavailable)
    assert str(resolution.error) == "network loopback (default): net: refused (fix it)"


def test_degraded_network_is_the_host_s_and_noted() -> None:
    policy = Policy().override(LINE, {"unavailable": "degrade", "memory": None, "pids": None})

    assert resolve(policy, machine("net")) == Resolved(
        Spec(network=Network.HOST), (Note("network host (no net)", "network"),)
    )
