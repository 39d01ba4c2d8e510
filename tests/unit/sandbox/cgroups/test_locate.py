"""The own group is found in what /proc says of groups and mounts, or it is said why not."""

from __future__ import annotations

import os

import pytest

from pytest_isolate.sandbox.cgroups import locate
from pytest_isolate.sandbox.cgroups.locate import Mount
from pytest_isolate.sandbox.cgroups.locate import Version
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.linux import mountinfo

HYBRID_GROUPS = """\
9:name=systemd:/user.slice
4:memory:/jobs/7
2:cpu,cpuacct:/
0::/user.slice/user-1000.slice/session-2.scope
"""
HYBRID_MOUNTS = b"""\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
31 22 0:28 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755
32 31 0:29 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:11 - cgroup cgroup rw,cpu,cpuacct
34 31 0:32 /jobs /mnt/a\\040b rw,nosuid - cgroup cgroup rw,memory
"""


def mount(root: str = "/", point: str = "/sys/fs/cgroup") -> Mount:
    return Mount(version=Version.V2, root=root, point=point, options=frozenset())


def test_each_controller_has_the_group_of_its_hierarchy() -> None:
    assert locate.parse_membership(HYBRID_GROUPS) == {
        "name=systemd": "/user.slice",
        "memory": "/jobs/7",
        "cpu": "/",
        "cpuacct": "/",
        "": "/user.slice/user-1000.slice/session-2.scope",
    }


def test_group_name_with_a_colon_is_taken_whole() -> None:
    assert locate.parse_membership("0::/a:b:c\n") == {"": "/a:b:c"}


def test_only_cgroup_mounts_are_found() -> None:
    mounts = locate.cgroup_mounts(mountinfo.parse(HYBRID_MOUNTS))

    assert [(mount.version, mount.root, mount.point) for mount in mounts] == [
        (Version.V2, "/", "/sys/fs/cgroup/unified"),
        (Version.V1, "/", "/sys/fs/cgroup/cpu,cpuacct"),
        (Version.V1, "/jobs", "/mnt/a b"),
    ]
    assert mounts[1].options >= {"cpu", "cpuacct"}


@pytest.mark.parametrize(
    ("root", "group", "directory"),
    [
        ("/", "/", "/sys/fs/cgroup"),
        ("/", "/a/b", "/sys/fs/cgroup/a/b"),
        ("/docker/1", "/docker/1", "/sys/fs/cgroup"),
        ("/docker/1", "/docker/1/sub", "/sys/fs/cgroup/sub"),
    ],
)
def test_group_is_where_the_mount_shows_it(root: str, group: str, directory: str) -> None:
    assert locate.resolve(mount(root), group) == directory


@pytest.mark.parametrize(
    ("root", "group"),
    [
        pytest.param("/docker/1", "/docker/12", id="another with the same beginning"),
        pytest.param("/docker/1", "/", id="above the mount"),
        pytest.param("/", "/../outside", id="outside of the cgroup namespace"),
        pytest.param("/..", "/", id="mount from outside of the cgroup namespace"),
        pytest.param("/", "/a/../../b", id="dots within"),
    ],
)
def test_group_that_the_mount_does_not_show_is_nowhere(root: str, group: str) -> None:
    assert locate.resolve(mount(root), group) is None


@pytest.mark.parametrize(
    ("groups", "mounts", "why"),
    [
        ({}, [], "no memory controller in this kernel"),
        ({"memory": "/"}, [mount()], "no cgroup v1 mount for memory"),
        ({"": "/"}, [], "no cgroup v2 mount for memory"),
        (
            {"": "/../x"},
            [mount()],
            "memory cgroup of this process not in /sys/fs/cgroup",
        ),
        (
            {"": "/"},
            [mount(point="/nonexistent")],
            "memory cgroup of this process not in /nonexistent",
        ),
    ],
)
def test_what_cannot_be_located_is_explained(
    groups: dict[str, str], mounts: list[Mount], why: str
) -> None:
    with pytest.raises(SandboxError) as caught:
        locate.locate("memory", groups, mounts)

    assert caught.value.why == why


def test_directory_without_this_process_is_not_its_group(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    wrong, right = (tmp_path_factory.mktemp(name) for name in ("wrong", "right"))
    wrong.joinpath("cgroup.procs").write_text("")
    right.joinpath("cgroup.procs").write_text(f"{os.getpid()}\n")
    right.joinpath("cgroup.controllers").write_text("cpu memory\n")
    mounts = [mount(point=str(path)) for path in (wrong, right)]

    assert locate.locate("memory", {"": "/"}, mounts).path == str(right)


@pytest.mark.parametrize(
    ("seen", "is_root", "why"),
    [
        ("cpu memory pids", True, "no delegated cpu controller"),
        ("memory", True, "no cpu controller in this kernel"),
        # A container's own root, or a mount in a cgroup namespace, shows what was given to it.
        ("memory", False, "no delegated cpu controller"),
    ],
)
def test_controller_that_was_not_delegated_is_told_from_one_that_does_not_exist(
    *, seen: str, is_root: bool, why: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    top = tmp_path_factory.mktemp("cgroup")
    own = top / "own"
    own.mkdir()
    own.joinpath("cgroup.procs").write_text(f"{os.getpid()}\n")
    own.joinpath("cgroup.controllers").write_text("memory pids\n")
    top.joinpath("cgroup.controllers").write_text(f"{seen}\n")
    if not is_root:
        top.joinpath("cgroup.type").write_text("domain\n")

    with pytest.raises(SandboxError) as caught:
        locate.locate("cpu", {"": "/own"}, [mount(point=str(top))])

    assert caught.value.why == why


def test_process_that_another_run_moved_is_where_it_was_before(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    top = tmp_path_factory.mktemp("cgroup")
    main = top / "own" / "pytest-isolate.12ab" / "main"
    main.mkdir(parents=True)
    main.joinpath("cgroup.procs").write_text(f"{os.getpid()}\n")
    # That run has not enabled its controllers yet.
    main.joinpath("cgroup.controllers").write_text("")
    (top / "own" / "cgroup.controllers").write_text("memory\n")

    found = locate.locate("memory", {"": "/own/pytest-isolate.12ab/main"}, [mount(point=str(top))])

    assert found.path == str(top / "own")
