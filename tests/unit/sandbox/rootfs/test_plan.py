"""Plans of root file systems, for machines that are made up."""

from __future__ import annotations

from dataclasses import replace
import os
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

import pytest

from pytest_isolate.sandbox import rootfs
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.sandbox.mounts import values as mounts
from pytest_isolate.sandbox.mounts.values import Bind
from pytest_isolate.sandbox.mounts.values import Copy
from pytest_isolate.sandbox.mounts.values import Device
from pytest_isolate.sandbox.mounts.values import DevPts
from pytest_isolate.sandbox.mounts.values import Directory
from pytest_isolate.sandbox.mounts.values import File
from pytest_isolate.sandbox.mounts.values import Mask
from pytest_isolate.sandbox.mounts.values import Mount
from pytest_isolate.sandbox.mounts.values import Mqueue
from pytest_isolate.sandbox.mounts.values import Overlay
from pytest_isolate.sandbox.mounts.values import Own
from pytest_isolate.sandbox.mounts.values import Proc
from pytest_isolate.sandbox.mounts.values import ReadOnly
from pytest_isolate.sandbox.mounts.values import Symlink
from pytest_isolate.sandbox.mounts.values import Sysfs
from pytest_isolate.sandbox.mounts.values import Tmpfs
from pytest_isolate.sandbox.rootfs.accounts import Accounts
from pytest_isolate.sandbox.rootfs.host import Host
from pytest_isolate.sandbox.rootfs.host import Kind
from pytest_isolate.sandbox.rootfs.host import Node
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import HostRoot
from pytest_isolate.sandbox.spec import Limits
from pytest_isolate.sandbox.spec import MinimalRoot
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence

M = TypeVar("M", bound=Mount)

GIB = 1 << 30
UID = 1000

MOUNTS = """
1 0 8:1 / / rw,relatime - ext4 /dev/sda1 rw
2 1 0:4 / /proc rw,relatime - proc proc rw
3 1 0:5 / /sys rw,relatime - sysfs sysfs rw
4 1 0:6 / /dev rw,relatime - devtmpfs udev rw
5 4 0:7 / /dev/shm rw,relatime - tmpfs tmpfs rw
6 4 0:8 / /dev/pts rw,relatime - devpts devpts rw
7 3 0:9 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw
"""


class Tree(dict[str, Node]):
    """A made-up tree of files; directories above a path come with it."""

    def __init__(self, **_: object) -> None:
        super().__init__({"/": Node(kind=Kind.DIRECTORY)})
        self.texts: dict[str, str] = {}

    def directory(
        self, path: str, *, mode: int = 0o755, access: int = 7, uid: int = 0, gid: int = 0
    ) -> Tree:
        if os.path.dirname(path) not in self:
            self.directory(os.path.dirname(path))
        self[path] = Node(kind=Kind.DIRECTORY, mode=mode, access=access, uid=uid, gid=gid)
        return self

    def file(self, path: str, *, device: int = 0, writable: bool = False, size: int = 0) -> Tree:
        if os.path.dirname(path) not in self:
            self.directory(os.path.dirname(path))
        self[path] = Node(kind=Kind.OTHER, mode=0o644, device=device, writable=writable, size=size)
        return self

    def link(self, path: str, to: str) -> Tree:
        if os.path.dirname(path) not in self:
            self.directory(os.path.dirname(path))
        self[path] = Node(kind=Kind.SYMLINK, to=to)
        return self

    def node(self, path: str) -> Node | None:
        above = self.real(os.path.dirname(path))
        return self.get(os.path.join(above, os.path.basename(path)) if path != "/" else "/")

    def names(self, path: str) -> tuple[str, ...]:
        return tuple(sorted(os.path.basename(p) for p in self if os.path.dirname(p) == path != p))

    def text(self, path: str) -> str | None:
        return self.texts.get(path)

    def real(self, path: str) -> str:
        done = "/"
        for part in path.strip("/").split("/"):
            done = os.path.join(done, part) if part else done
            node = self.get(done)
            if node is not None and node.kind is Kind.SYMLINK:
                done = self.real(os.path.normpath(os.path.join(os.path.dirname(done), node.to)))
        return done


def machine() -> Tree:
    tree = Tree().directory("/usr/lib/python3").directory("/etc").directory("/home/me")
    for path in ("/proc/sys/fs/mqueue", "/proc/irq", "/sys/fs/cgroup", "/dev/shm", "/run/lock"):
        tree.directory(path)
    for path in ("/srv/ci/builds", "/var/lib"):
        tree.directory(path, uid=0, access=5)
    tree.directory("/tmp", mode=0o1777).directory("/var/tmp", mode=0o1777)
    tree.directory("/root", mode=0o700, access=0)
    tree.directory("/home/me", uid=UID, gid=UID, mode=0o750)
    tree.link("/lib", "usr/lib").link("/bin", "usr/bin").directory("/usr/bin")
    tree.file("/etc/ld.so.cache").file("/swapfile").file("/proc/keys")
    tree.file("/dev/null", device=os.makedev(1, 3)).file("/dev/log")
    return tree


def host(
    tree: Tree | None = None, *, extra_mounts: str = "", privileged: bool = True, home: str = "/"
) -> Host:
    uid = 0 if privileged else UID
    return Host(
        files=machine() if tree is None else tree,
        mounts=mountinfo.parse((MOUNTS + extra_mounts).lstrip().encode()),
        privileged=privileged,
        memory_total=8 * GIB,
        uid=uid,
        gid=uid,
        user="me",
        group="me",
        home=home,
        hosts="127.0.0.1 localhost\n",
    )


def of(kind: type[M], mounts: Sequence[Mount]) -> dict[str, M]:
    """Return the mounts of one kind, the last one at each place."""
    return {mount.target: mount for mount in mounts if isinstance(mount, kind)}


def order(mounts: Sequence[Mount]) -> Iterator[str]:
    return (mount.target for mount in mounts)


# The host's tree, as the machine's root.


def test_root_gets_one_overlay_per_real_mount_point() -> None:
    tree = machine().directory("/data")
    plan = rootfs.plan_root(Spec(), host(tree, extra_mounts="9 1 8:2 / /data rw - xfs /dev/b rw\n"))

    overlays = of(Overlay, plan.outer)

    assert {target: o.lower for target, o in overlays.items()} == {"/": "/", "/data": "/data"}


def test_a_mount_that_another_one_hides_is_left_out() -> None:
    tree = machine().directory("/data/inner")
    table = (
        "9 1 8:2 / /data rw - xfs /dev/b rw\n"
        "10 9 8:3 / /data/inner rw - xfs /dev/c rw\n"
        "11 1 8:4 / /data rw - xfs /dev/d rw\n"
    )

    plan = rootfs.plan_root(Spec(), host(tree, extra_mounts=table))

    assert list(of(Overlay, plan.outer)) == ["/", "/data"]


@pytest.mark.parametrize("privileged", [True, False])
def test_an_overlay_keeps_the_options_of_the_mount_that_it_stands_for(*, privileged: bool) -> None:
    tree = machine().directory("/data/inner").directory("/tmp/disk/project")
    table = (
        "9 1 8:2 / /data rw,noexec,relatime - xfs /dev/b rw\n"
        "10 9 8:3 / /data/inner rw,nosuid,noatime - xfs /dev/c rw\n"
        "11 1 8:4 / /tmp/disk rw,nosuid,relatime - xfs /dev/d rw\n"
    )
    spec = Spec(project=("/tmp/disk/project",))

    outer = rootfs.plan_root(spec, host(tree, extra_mounts=table, privileged=privileged)).outer

    kept = {target: set(overlay.kept) for target, overlay in of(Overlay, outer).items()}
    assert kept["/data/inner"] == {"nosuid", "noatime"}
    assert kept["/tmp/disk/project"] == {"nosuid"}
    assert not privileged or (kept["/"] == set() and kept["/data"] == {"noexec"})


def test_a_root_directory_keeps_no_options_of_the_disk_that_it_lies_on() -> None:
    tree = machine().directory("/images/root")
    table = "9 1 8:2 / /images rw,noexec,nosuid - xfs /dev/b rw\n"
    spec = Spec(root=DirectoryRoot("/images/root"))

    outer = rootfs.plan_root(spec, host(tree, extra_mounts=table)).outer

    assert of(Overlay, outer)["/"].kept == ()


@pytest.mark.parametrize("privileged", [True, False])
def test_a_project_on_a_read_only_mount_is_read_only(*, privileged: bool) -> None:
    tree = machine().directory("/tmp/disk/project")
    table = "9 1 8:2 / /tmp/disk ro - squashfs /dev/b ro\n"
    spec = Spec(project=("/tmp/disk/project",))

    outer = rootfs.plan_root(spec, host(tree, extra_mounts=table, privileged=privileged)).outer

    assert of(Bind, outer)["/tmp/disk/project"].read_only


@pytest.mark.parametrize("options", ["ro - xfs /dev/b rw", "rw - xfs /dev/b ro"])
def test_a_read_only_mount_stays_read_only(options: str) -> None:
    tree = machine().directory("/data")
    plan = rootfs.plan_root(Spec(), host(tree, extra_mounts=f"9 1 8:2 / /data {options}\n"))

    assert of(Bind, plan.outer)["/data"] == Bind(
        target="/data", source="/data", recursive=False, optional=True
    )
    assert "/data" not in of(Overlay, plan.outer)


def test_a_mounted_file_is_bound_read_only() -> None:
    tree = machine().file("/etc/resolv.conf")
    table = "9 1 8:2 /x /etc/resolv.conf rw - ext4 /dev/b rw\n"

    bind = of(Bind, rootfs.plan_root(Spec(), host(tree, extra_mounts=table)).outer)

    assert bind["/etc/resolv.conf"].read_only
    assert not bind["/etc/resolv.conf"].directory


def test_mounts_under_directories_of_the_sandboxs_own_are_left_out() -> None:
    tree = machine().directory("/tmp/x").directory("/run/user/1000").directory("/dev/shm/x")
    table = (
        "9 1 8:2 / /tmp/x rw - xfs /dev/b rw\n"
        "10 1 0:30 / /run/user/1000 rw - tmpfs tmpfs rw\n"
        "11 1 0:31 / /run rw - tmpfs tmpfs rw\n"
        "12 5 0:32 / /dev/shm/x rw - tmpfs tmpfs rw\n"
    )

    plan = rootfs.plan_root(Spec(), host(tree, extra_mounts=table))

    assert list(of(Overlay, plan.outer)) == ["/"]


@pytest.mark.parametrize("privileged", [True, False])
def test_the_host_may_remove_what_it_mounted_but_not_the_root(*, privileged: bool) -> None:
    tree = machine().directory("/mnt/a")
    table = "9 1 8:2 / /mnt/a rw - xfs /dev/b rw\n"

    outer = rootfs.plan_root(Spec(), host(tree, extra_mounts=table, privileged=privileged)).outer

    overlays = of(Overlay, outer)
    assert overlays["/mnt/a"].optional
    assert not privileged or not overlays["/"].optional


# The host's tree, without privilege.


def test_an_ordinary_user_gets_one_overlay_per_top_level_directory() -> None:
    plan = rootfs.plan_root(Spec(), host(privileged=False))

    assert set(of(Overlay, plan.outer)) == {"/etc", "/home", "/srv", "/usr", "/var"}
    assert {s.target: s.to for s in of(Symlink, plan.outer).values() if s.target < "/d"} == {
        "/bin": "usr/bin"
    }
    assert of(Bind, plan.outer)["/swapfile"].read_only


def test_a_directory_with_mounts_below_is_taken_entry_by_entry() -> None:
    tree = machine().directory("/mnt/a/disk/files").directory("/mnt/b").link("/mnt/l", "b")
    table = "9 1 8:2 / /mnt/a/disk rw - xfs /dev/b rw\n"

    outer = rootfs.plan_root(Spec(), host(tree, extra_mounts=table, privileged=False)).outer

    assert {"/mnt", "/mnt/a"} <= set(of(Directory, outer))
    assert {"/mnt/a/disk", "/mnt/b"} <= set(of(Overlay, outer))
    assert "/mnt" not in of(Overlay, outer)
    assert of(Symlink, outer)["/mnt/l"].to == "b"


MOUNTED = "9 1 0:40 / /home/me/src/mounted rw,relatime - fuse.sshfs other: rw\n"


def test_a_file_beside_a_mount_is_copied_for_who_may_write_to_it() -> None:
    tree = machine().directory("/home/me/src", uid=UID, gid=UID)
    tree.directory("/home/me/src/mounted", uid=UID, gid=UID)
    tree.file("/home/me/src/mine", writable=True, size=5).file("/home/me/src/not_mine")
    tree.file("/home/me/src/large", writable=True, size=GIB)
    spec = Spec(project=("/home/me/src",))

    machine_ = host(tree, extra_mounts=MOUNTED, privileged=False, home="/home/me")
    outer = rootfs.plan_root(spec, machine_).outer

    copies, binds = of(Copy, outer), of(Bind, outer)
    assert set(copies) == {"/home/me/src/mine"}
    assert not binds["/home/me/src/not_mine"].lesser
    assert binds["/home/me/src/large"].lesser
    assert "/home/me/src/mounted" in of(Overlay, outer)


def test_what_is_made_entry_by_entry_is_made_once() -> None:
    tree = machine().directory("/home/me/src/mounted", uid=UID, gid=UID)
    tree.file("/home/me/src/mine", writable=True)
    spec = Spec(project=("/home/me/src",))

    machine_ = host(tree, extra_mounts=MOUNTED, privileged=False, home="/home/me")
    outer = rootfs.plan_root(spec, machine_).outer

    assert [m.target for m in outer].count("/home/me/src/mine") == 1
    assert [m.target for m in outer].count("/home/me/src/mounted") == 1


def test_copies_have_a_limit_together_and_the_rest_is_told() -> None:
    tree = machine().directory("/home/me/src/mounted", uid=UID, gid=UID)
    for number in range(300):
        tree.file(f"/home/me/src/{number:03}", writable=True, size=1 << 20)

    outer = rootfs.plan_root(Spec(), host(tree, extra_mounts=MOUNTED, privileged=False)).outer

    copied, told = of(Copy, outer), [bind for bind in of(Bind, outer).values() if bind.lesser]
    assert sum(tree[path].size for path in copied) <= 16 << 20
    assert len(copied) + len(told) == 300


def test_a_file_on_a_noexec_mount_is_not_copied_to_where_it_could_run() -> None:
    tree = machine().directory("/data/mounted").file("/data/program", writable=True)
    table = (
        "9 1 8:2 / /data rw,noexec,relatime - xfs /dev/b rw\n"
        "10 9 8:3 / /data/mounted rw,relatime - xfs /dev/c rw\n"
    )

    outer = rootfs.plan_root(Spec(), host(tree, extra_mounts=table, privileged=False)).outer

    assert "/data/program" not in of(Copy, outer)
    assert of(Bind, outer)["/data/program"].lesser


def test_a_hidden_mount_below_forbids_an_overlay_as_well() -> None:
    tree = machine().directory("/mnt/a")
    table = "9 1 8:2 / /mnt/a rw - xfs /dev/b rw\n10 1 8:3 / /mnt rw - xfs /dev/c rw\n"

    outer = rootfs.plan_root(Spec(), host(tree, extra_mounts=table, privileged=False)).outer

    assert "/mnt" not in of(Overlay, outer)


def test_a_read_only_mount_stays_read_only_for_an_ordinary_user() -> None:
    tree = machine().directory("/mnt/a")
    table = "9 1 8:2 / /mnt/a ro - squashfs /dev/b ro\n"

    outer = rootfs.plan_root(Spec(), host(tree, extra_mounts=table, privileged=False)).outer

    assert of(Bind, outer)["/mnt/a"] == Bind(target="/mnt/a", source="/mnt/a", optional=True)


def test_a_directory_that_cannot_be_entered_is_there_and_cannot_be_entered() -> None:
    outer = rootfs.plan_root(Spec(), host(privileged=False)).outer

    assert of(Directory, outer)["/root"].mode == 0


@pytest.mark.parametrize(
    ("mode", "access", "shown"),
    [(0o755, 5, 0o555), (0o700, 7, 0o700), (0o1777, 7, 0o1777), (0o750, 1, 0o150)],
)
def test_the_owner_of_an_overlay_may_do_what_the_caller_could(
    mode: int, access: int, shown: int
) -> None:
    tree = machine().directory("/data", mode=mode, access=access)

    outer = rootfs.plan_root(Spec(), host(tree, privileged=False)).outer

    assert of(Overlay, outer)["/data"].mode == shown


def test_a_project_deep_under_directories_of_others_gets_an_overlay_of_its_own() -> None:
    tree = machine().directory("/srv/ci/builds/me", uid=UID, gid=UID)
    spec = Spec(project=("/srv/ci/builds/me",))

    assert "/srv/ci/builds/me" in of(
        Overlay, rootfs.plan_root(spec, host(tree, privileged=False)).outer
    )
    assert "/srv/ci/builds/me" not in of(Overlay, rootfs.plan_root(spec, host(tree)).outer)


def test_a_home_deep_under_directories_of_others_gets_an_overlay_of_its_own() -> None:
    tree = machine().directory("/var/lib/ci", uid=UID, gid=UID)

    outer = rootfs.plan_root(Spec(), host(tree, privileged=False, home="/var/lib/ci")).outer

    assert "/var/lib/ci" in of(Overlay, outer)


def test_a_project_whose_parents_are_the_callers_needs_no_overlay_of_its_own() -> None:
    tree = machine().directory("/home/me/src", uid=UID, gid=UID)
    spec = Spec(project=("/home/me/src",))

    outer = rootfs.plan_root(spec, host(tree, privileged=False, home="/home/me")).outer

    assert set(of(Overlay, outer)) == {"/etc", "/home", "/srv", "/usr", "/var"}


# What every root has of its own.

ROOTS = [HostRoot(), MinimalRoot(), DirectoryRoot("/srv/ci")]


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: type(root).__name__)
@pytest.mark.parametrize("privileged", [True, False])
def test_every_root_has_fresh_directories_devices_and_kernel_files(
    root: HostRoot | MinimalRoot | DirectoryRoot, *, privileged: bool
) -> None:
    plan = rootfs.plan_root(Spec(root=root), host(privileged=privileged))

    scratch = of(Tmpfs, plan.outer)
    assert {t: m.mode for t, m in scratch.items() if m.mode == 0o1777} == {
        "/tmp": 0o1777,
        "/var/tmp": 0o1777,
        "/dev/shm": 0o1777,
    }
    closed = 0o755 if privileged else 0o555
    assert scratch["/run"].mode == scratch["/dev"].mode == closed
    assert of(Directory, plan.outer)["/run/lock"].mode == 0o1777
    assert of(Device, plan.outer)["/dev/null"].device == os.makedev(1, 3)
    assert of(DevPts, plan.outer)["/dev/pts"].gid == (5 if privileged else None)
    assert of(Symlink, plan.outer)["/dev/ptmx"].to == "pts/ptmx"
    assert set(of(ReadOnly, plan.inner)) == {"/proc/sys", "/proc/irq"}
    assert set(of(Mask, plan.inner)) == {"/proc/keys"}
    assert set(of(Sysfs, plan.inner)) == {"/sys"}
    assert set(of(Mqueue, plan.inner)) == {"/dev/mqueue"}


def test_only_device_nodes_are_made_in_dev() -> None:
    plan = rootfs.plan_root(Spec(), host(machine().file("/dev/zero")))

    assert set(of(Device, plan.outer)) == {"/dev/null"}


def test_a_nested_sandbox_finds_a_proc_that_is_writable_for_ordinary_users_only() -> None:
    def spare(*, privileged: bool) -> Proc:
        plan = rootfs.plan_root(Spec(), host(privileged=privileged))
        return of(Proc, plan.inner)["/dev/mqueue/proc"]

    assert spare(privileged=True).read_only
    assert not spare(privileged=False).read_only


def test_the_hosts_network_comes_with_the_hosts_devices() -> None:
    plan = rootfs.plan_root(Spec(network=Network.HOST), host())

    assert of(Bind, plan.outer)["/sys"] == Bind(target="/sys", source="/sys")
    assert not of(Sysfs, plan.inner)


@pytest.mark.parametrize("privileged", [True, False])
@pytest.mark.parametrize("network", list(Network))
def test_limits_are_mounted_before_the_sandboxs_user_namespace_and_stay(
    network: Network, *, privileged: bool
) -> None:
    spec = Spec(network=network, limits=Limits(memory=GIB))
    plan = rootfs.plan_root(spec, host(privileged=privileged))

    covers = network is Network.HOST
    place = "/sys/fs/cgroup"
    shown = mounts.Limits(target=place, memory=GIB, covers=covers)
    assert of(mounts.Limits, plan.outer)[place] == shown
    assert [sysfs.keeps for sysfs in of(Sysfs, plan.inner).values()] == [place] * (not covers)


def test_no_mount_of_the_hosts_below_sys_comes_along_but_with_its_network() -> None:
    own = [rootfs.plan_root(Spec(), host(privileged=who)).outer for who in (True, False)]

    assert [of(Bind, outer).get("/sys") for outer in own] == [
        Bind(target="/sys", source="/sys", recursive=False),
        None,
    ]


def test_a_machine_without_cgroups_has_no_place_for_limits() -> None:
    tree = machine()
    del tree["/sys/fs/cgroup"]

    assert not of(mounts.Limits, rootfs.plan_root(Spec(), host(tree)).outer)


def test_a_linked_scratch_directory_is_mounted_once() -> None:
    tree = machine().link("/var/tmp", "../tmp")

    assert "/var/tmp" not in of(Tmpfs, rootfs.plan_root(Spec(), host(tree)).outer)


@pytest.mark.parametrize(
    ("cap", "size"), [(None, None), (GIB, None), (4 * GIB, None), (6 * GIB, 6 * GIB)]
)
def test_a_tmpfs_is_never_smaller_than_the_memory_cap(cap: int | None, size: int | None) -> None:
    spec = Spec(limits=Limits(memory=cap))

    plan = rootfs.plan_root(spec, host())

    assert rootfs.tmpfs_size(spec, host()) == size
    writable = [t for t in of(Tmpfs, plan.outer).values() if t.target != "/dev"]
    assert {tmpfs.size for tmpfs in writable} == {size}


def test_the_host_name_resolves() -> None:
    hosts = of(File, rootfs.plan_root(Spec(hostname="box"), host()).outer)["/etc/hosts"]

    assert hosts.text.splitlines() == ["127.0.0.1 localhost", "127.0.1.1\tbox"]


def test_a_host_name_that_resolves_already_changes_nothing() -> None:
    plan = rootfs.plan_root(Spec(hostname="localhost"), host())

    assert not of(File, plan.outer)


# What is put back.


def test_what_lies_under_a_fresh_directory_is_put_back_copy_on_write() -> None:
    tree = machine().directory("/tmp/checkout/src").directory("/var/tmp/venv")
    spec = Spec(project=("/tmp/checkout",), imports=("/var/tmp/venv", "/usr/lib/python3"))

    outer = rootfs.plan_root(spec, host(tree)).outer

    assert set(of(Overlay, outer)) == {"/", "/tmp/checkout", "/var/tmp/venv"}
    targets = list(order(outer))
    assert targets.index("/tmp") < targets.index("/tmp/checkout")


def test_mounts_below_what_is_put_back_come_along() -> None:
    tree = machine().directory("/tmp/checkout/data")
    table = "9 1 8:2 / /tmp/checkout/data rw - xfs /dev/b rw\n"
    spec = Spec(project=("/tmp/checkout",))

    outer = rootfs.plan_root(spec, host(tree, extra_mounts=table)).outer

    assert "/tmp/checkout/data" in of(Overlay, outer)


def test_what_an_ancestor_covers_is_not_mounted_again() -> None:
    tree = machine().directory("/tmp/co/.venv/lib").directory("/tmp/co2")
    spec = Spec(project=("/tmp/co",), imports=("/tmp/co/.venv/lib", "/tmp/co2", "/tmp/co"))

    outer = rootfs.plan_root(spec, host(tree)).outer

    assert set(of(Overlay, outer)) == {"/", "/tmp/co", "/tmp/co2"}


def test_a_project_within_an_import_path_is_still_copy_on_write() -> None:
    tree = machine().directory("/home/me/lib/project")
    spec = Spec(
        root=DirectoryRoot("/srv/ci"), imports=("/home/me/lib",), project=("/home/me/lib/project",)
    )

    outer = rootfs.plan_root(spec, host(tree)).outer

    assert of(Bind, outer)["/home/me/lib"].read_only
    assert of(Overlay, outer)["/home/me/lib/project"].lower == "/home/me/lib/project"


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: type(root).__name__)
@pytest.mark.parametrize("path", ["/tmp/out", "/home/me/out", "/var/lib/out"])
def test_a_writable_path_goes_through_to_the_host(
    root: HostRoot | MinimalRoot | DirectoryRoot, path: str
) -> None:
    spec = Spec(root=root, writable=(path,), project=(os.path.dirname(path),))

    outer = rootfs.plan_root(spec, host(machine().directory(path))).outer

    assert of(Bind, outer)[path] == Bind(target=path, source=path, read_only=False)
    targets = list(order(outer))
    assert max(targets.index(t) for t in ("/", "/tmp")) < targets.index(path)


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: type(root).__name__)
@pytest.mark.parametrize("path", ["/tmp/base/run", "/home/me/base", "/var/lib/base"])
@pytest.mark.parametrize("over", [False, True])
def test_a_directory_of_its_own_lies_above_all_that_is_above_it(
    root: HostRoot | MinimalRoot | DirectoryRoot, path: str, *, over: bool
) -> None:
    spec = Spec(root=root, own=path, own_over=over, project=(os.path.dirname(path),))

    plan = rootfs.plan_root(spec, host(machine().directory(path)))

    assert of(Own, plan.outer)[path] == Own(target=path, source=path, over=over)
    targets = list(order(plan.outer))
    assert max(targets.index(t) for t in ("/", "/tmp")) < targets.index(path)
    assert rootfs.staging_place(plan) != "/" + path.split("/")[1]


def test_a_project_within_a_directory_of_its_own_is_put_back_on_it() -> None:
    tree = machine().directory("/tmp/base/project")
    spec = Spec(own="/tmp/base", writable=("/tmp/base/out",), project=("/tmp/base/project",))

    outer = rootfs.plan_root(spec, host(tree.directory("/tmp/base/out"))).outer

    targets = list(order(outer))
    assert targets.index("/tmp/base") < targets.index("/tmp/base/project")
    assert of(Bind, outer)["/tmp/base/out"].source == "/tmp/base/out"


def test_a_project_within_a_writable_path_is_written_through() -> None:
    tree = machine().directory("/tmp/co/project")
    spec = Spec(writable=("/tmp/co",), project=("/tmp/co/project",))

    outer = rootfs.plan_root(spec, host(tree)).outer

    assert "/tmp/co/project" not in of(Overlay, outer)


def test_a_writable_path_above_the_scratch_directories_leaves_them_fresh() -> None:
    targets = list(order(rootfs.plan_root(Spec(writable=("/var",)), host()).outer))

    assert targets.index("/var") < targets.index("/var/tmp")


def test_a_writable_path_that_is_missing_is_an_error_in_one_line() -> None:
    with pytest.raises(SandboxError) as caught:
        rootfs.plan_root(Spec(writable=("/home/me/none",)), host())

    assert str(caught.value) == (
        "keep /home/me/none writable: no such file or directory (create it)"
    )


def test_import_and_project_paths_that_are_missing_are_dropped() -> None:
    spec = Spec(imports=("/tmp/none", "/usr/lib/python311.zip"), project=("/tmp/nothing",))

    assert rootfs.plan_root(spec, host()) == rootfs.plan_root(Spec(), host())


def test_links_that_lead_to_what_is_put_back_are_put_back() -> None:
    tree = machine().directory("/data/venv").link("/tmp/venv", "/tmp/current")
    tree.link("/tmp/current", "../data/venv")

    outer = rootfs.plan_root(Spec(imports=("/tmp/venv",)), host(tree)).outer

    links = of(Symlink, outer)
    assert (links["/tmp/venv"].to, links["/tmp/current"].to) == ("/tmp/current", "../data/venv")


# The other roots.


def test_a_minimal_root_has_libraries_imports_and_project_read_only_and_no_home() -> None:
    tree = machine().directory("/home/me/src")
    spec = Spec(root=MinimalRoot(), imports=("/usr/lib/python3",), project=("/home/me/src",))

    outer = rootfs.plan_root(spec, host(tree, home="/home/me")).outer

    binds = of(Bind, outer)
    assert all(bind.read_only for bind in binds.values())
    assert set(binds) == {"/sys", "/usr/lib", "/home/me/src", "/etc/ld.so.cache"}
    assert of(Symlink, outer)["/lib"].to == "usr/lib"
    assert not of(Overlay, outer)
    assert outer[0] == Directory(target="/")


@pytest.mark.parametrize("privileged", [True, False])
def test_a_minimal_root_knows_the_callers_name(*, privileged: bool) -> None:
    spec = Spec(root=MinimalRoot(), hostname="box")

    files = of(File, rootfs.plan_root(spec, host(privileged=privileged)).outer)

    users = {line.split(":")[2] for line in files["/etc/passwd"].text.splitlines()}
    assert users == {"0", "65534"} | (set() if privileged else {str(UID)})
    assert files["/etc/hostname"].text == "box\n"
    assert "box" in files["/etc/hosts"].text.split()
    assert "hosts: files dns" in files["/etc/nsswitch.conf"].text


@pytest.mark.parametrize("root", [MinimalRoot(), DirectoryRoot("/srv/ci")])
def test_name_servers_come_with_the_hosts_network_only(root: MinimalRoot | DirectoryRoot) -> None:
    tree = machine().file("/run/resolve/stub").link("/etc/resolv.conf", "../run/resolve/stub")

    def bound(network: Network) -> dict[str, Bind]:
        return of(Bind, rootfs.plan_root(Spec(root=root, network=network), host(tree)).outer)

    assert bound(Network.HOST)["/etc/resolv.conf"].source == "/run/resolve/stub"
    assert "/etc/resolv.conf" not in bound(Network.LOOPBACK)


def test_a_directory_root_is_copy_on_write_with_the_mounts_below_it() -> None:
    tree = machine().directory("/srv/ci/builds/disk").link("/root.fs", "srv/ci")
    table = "9 1 8:2 / /srv/ci/builds rw - xfs /dev/b rw\n"
    spec = Spec(root=DirectoryRoot("/root.fs"))

    overlays = of(Overlay, rootfs.plan_root(spec, host(tree, extra_mounts=table)).outer)

    assert {target: o.lower for target, o in overlays.items()} == {
        "/": "/srv/ci",
        "/builds": "/srv/ci/builds",
    }


def test_a_directory_root_keeps_its_own_programs() -> None:
    tree = machine().file("/usr/bin/python3").file("/srv/ci/usr/bin/python3").file("/usr/bin/other")
    spec = Spec(
        root=DirectoryRoot("/srv/ci"),
        imports=("/usr/bin/python3", "/usr/bin/other", "/lib/python3"),
    )

    binds = of(Bind, rootfs.plan_root(spec, host(tree)).outer)

    assert set(binds) == {"/sys", "/usr/bin/other", "/lib/python3", "/usr/lib/python3"}
    assert binds["/lib/python3"].source == "/usr/lib/python3"


@pytest.mark.parametrize("path", ["/nowhere", "/swapfile"])
def test_a_root_that_is_no_directory_is_an_error_in_one_line(path: str) -> None:
    with pytest.raises(SandboxError) as caught:
        rootfs.plan_root(Spec(root=DirectoryRoot(path)), host())

    assert str(caught.value) == f"use {path} as root file system: it is not a directory"


# Names: links of /etc, accounts, the directories of /run.


def led(tree: Tree, spec: Spec) -> tuple[set[str], dict[str, str]]:
    """Return the files that are put back for /etc, and the links to them that are made."""
    outer = rootfs.plan_root(spec, host(tree)).outer
    links = {target: link.to for target, link in of(Symlink, outer).items()}
    return set(of(Bind, outer)) - {"/sys"}, {t: to for t, to in links.items() if "/dev/" not in t}


def test_what_a_link_of_etc_leads_to_in_a_fresh_directory_is_there_with_all_links_on_the_way() -> (
    None
):
    tree = machine().file("/run/names/stub").link("/run/mid", "names/stub")
    tree.link("/etc/hosts", "../run/mid").link("/etc/localtime", "/tmp/zone").file("/tmp/zone")
    tree.link("/etc/os-release", "../usr/lib/os-release").file("/usr/lib/os-release")

    files, links = led(tree, Spec())

    assert files == {"/run/names/stub", "/tmp/zone"}
    assert links == {"/run/mid": "names/stub"}


def test_name_servers_behind_a_link_come_with_the_hosts_network() -> None:
    tree = machine().file("/run/resolve/stub").link("/etc/resolv.conf", "../run/resolve/stub")

    assert led(tree, Spec())[0] == set()
    assert led(tree, Spec(network=Network.HOST))[0] == {"/run/resolve/stub"}


def test_no_link_of_etc_brings_a_socket_or_a_directory() -> None:
    tree = machine().link("/etc/socket", "/run/socket").link("/etc/all", "/run/all")
    tree.directory("/run/all").link("/etc/nowhere", "/run/nowhere")
    tree["/run/socket"] = Node(kind=Kind.OTHER, regular=False)

    assert led(tree, Spec()) == (set(), {})


def accounts(text: str, *, user: User = User.KEEP, privileged: bool = False) -> str:
    """Return what /etc/passwd says, if it is the sandbox's own."""
    tree = machine().file("/etc/passwd")
    tree.texts["/etc/passwd"] = text
    known = Accounts(users={UID: f"me:x:{UID}:{UID}:Me:/home/me:/bin/zsh", 0: "root:x:0:0::/:sh"})
    outer = rootfs.plan_root(
        Spec(user=user), replace(host(tree, privileged=privileged), accounts=known, uid=UID)
    ).outer
    files = of(File, outer)
    return files["/etc/passwd"].text if "/etc/passwd" in files else ""


@pytest.mark.parametrize("privileged", [True, False])
def test_caller_that_the_file_of_accounts_does_not_know_is_added_to_it(*, privileged: bool) -> None:
    added = accounts("root:x:0:0::/root:/bin/sh", privileged=privileged)

    assert added == f"root:x:0:0::/root:/bin/sh\nme:x:{UID}:{UID}:Me:/home/me:/bin/zsh\n"


@pytest.mark.parametrize("line", [f"other:x:{UID}:1::/:/bin/sh\n", "me:x:7:7::/:/bin/sh\n"])
def test_file_of_accounts_stays_where_the_caller_or_its_name_is_in_it(line: str) -> None:
    assert accounts(line) == ""


def test_name_is_that_of_the_id_inside() -> None:
    assert accounts("other:x:7:7::/:/bin/sh\n", user=User.ROOT).endswith("\nroot:x:0:0::/:sh\n")


def test_unknown_caller_changes_no_file() -> None:
    tree = machine().file("/etc/passwd").file("/etc/group")
    tree.texts = {"/etc/passwd": "", "/etc/group": ""}

    assert not of(File, rootfs.plan_root(Spec(hostname=None), host(tree)).outer)


def run_directories(tree: Tree, **how: Any) -> dict[str, Directory]:
    """Return the directories that the host root has in /run, but for the one of locks."""
    found = of(Directory, rootfs.plan_root(Spec(), host(tree, **how)).outer)
    del found["/run/lock"]
    return {target: one for target, one in found.items() if target.startswith("/run/")}


def test_directories_of_run_are_there_and_empty_with_owner_and_mode() -> None:
    tree = machine().directory("/run/postgresql", mode=0o2775, uid=70, gid=71)
    tree.file("/run/postgresql/socket").link("/run/link", "/etc").directory("/run/sshd/a/b")

    made = run_directories(tree)

    assert set(made) == {"/run/postgresql", "/run/sshd", "/run/sshd/a"}
    postgresql = made["/run/postgresql"]
    assert (postgresql.mode, postgresql.owner) == (0o2775, (70, 71))


def test_directories_of_run_that_become_the_callers_allow_no_more_than_outside() -> None:
    tree = machine().directory("/run/sshd", mode=0o755, access=5)

    sshd = run_directories(tree, privileged=False)["/run/sshd"]

    assert (sshd.mode, sshd.owner) == (0o555, None)


def test_directories_of_run_are_bounded_in_number() -> None:
    tree = machine()
    for number in range(1000):
        tree.directory(f"/run/{number:03}/below")

    assert len(run_directories(tree)) < 100


def test_neither_systemd_nor_names_of_secrets_are_in_run() -> None:
    tree = machine().directory("/run/systemd/system").directory("/run/credentials/service")
    tree.directory("/run/user/7").directory("/run/.private")

    assert set(run_directories(tree)) == {"/run/systemd", "/run/credentials", "/run/user"}


def test_what_is_mounted_in_run_is_not_even_looked_at() -> None:
    tree = machine().directory("/run/media/disk")
    table = "9 1 8:2 / /run/media rw - fuse.sshfs host rw\n"

    assert not run_directories(tree, extra_mounts=table)


def test_root_directory_has_its_own_directories_of_run() -> None:
    tree = machine().directory("/srv/ci/run/sshd").directory("/run/postgresql")

    outer = rootfs.plan_root(Spec(root=DirectoryRoot("/srv/ci")), host(tree)).outer

    assert {t for t in of(Directory, outer) if t.startswith("/run/")} == {"/run/lock", "/run/sshd"}


# Places to mount on that a root directory of somebody else lacks.


@pytest.mark.parametrize(
    ("there", "overlays"),
    [
        ((), {"/"}),  # an overlay's top directory is the caller's
        (("/etc",), {"/", "/etc"}),
        (("/var", "/home/x"), {"/", "/var", "/home"}),
    ],
)
def test_what_is_missing_below_directories_of_others_is_made_on_an_overlay(
    there: tuple[str, ...], overlays: set[str]
) -> None:
    tree = machine().directory("/home/me/src", uid=UID, gid=UID)
    for path in there:
        tree.directory(f"/srv/ci{path}", access=5)
    spec = Spec(root=DirectoryRoot("/srv/ci"), imports=("/home/me/src",))

    outer = rootfs.plan_root(spec, host(tree, privileged=False)).outer

    made = of(Overlay, outer)
    assert set(made) == overlays
    assert all(o.lower == "/srv/ci" + target.rstrip("/") for target, o in made.items())


def test_what_is_missing_is_made_where_the_roots_own_links_lead() -> None:
    tree = machine().directory("/srv/ci/usr/etc", access=5).link("/srv/ci/etc", "/usr/etc")

    outer = rootfs.plan_root(
        Spec(root=DirectoryRoot("/srv/ci")), host(tree, privileged=False)
    ).outer

    assert set(of(Overlay, outer)) == {"/", "/usr/etc"}


def test_root_of_the_callers_own_needs_no_more_overlays() -> None:
    tree = machine()
    for path in ("/srv/ci", "/srv/ci/etc", "/srv/ci/var"):
        tree.directory(path, uid=UID, gid=UID)

    outer = rootfs.plan_root(
        Spec(root=DirectoryRoot("/srv/ci")), host(tree, privileged=False)
    ).outer

    assert set(of(Overlay, outer)) == {"/"}


def test_root_that_the_caller_may_not_enter_is_an_error_with_the_fix() -> None:
    tree = machine().directory("/srv/ci", mode=0o700, access=0)

    with pytest.raises(SandboxError) as caught:
        rootfs.plan_root(Spec(root=DirectoryRoot("/srv/ci")), host(tree, privileged=False))

    assert caught.value.why == "Permission denied"
    assert "chmod go+rx /srv/ci" in caught.value.fix


# The place to put the sandbox's files.


@pytest.mark.parametrize(
    ("taken", "place"),
    [((), "/run"), (("/run/x",), "/tmp"), (("/run/x", "/tmp/x"), "/var/tmp")],
)
def test_the_staging_place_hides_nothing_that_the_plan_needs(
    taken: tuple[str, ...], place: str
) -> None:
    tree = machine()
    for path in taken:
        tree.directory(path)

    assert rootfs.staging_place(rootfs.plan_root(Spec(imports=taken), host(tree))) == place


def test_the_staging_place_is_not_below_what_is_bound_with_all_below_it() -> None:
    plan = rootfs.plan_root(Spec(writable=("/run", "/tmp")), host())

    assert rootfs.staging_place(plan) == "/var/tmp"


def test_no_staging_place_is_an_error_that_says_why() -> None:
    plan = rootfs.plan_root(Spec(writable=("/",)), host())

    with pytest.raises(SandboxError, match="lies below each of /run, /tmp"):
        rootfs.staging_place(plan)


def test_a_plan_is_described_in_one_line_a_mount() -> None:
    plan = rootfs.plan_root(Spec(), host())

    lines = [mount.describe() for mount in plan.outer + plan.inner]

    assert [line for line in lines if len(line.splitlines()) != 1] == []
    assert lines[0] == "mount overlay on / over /"
    assert "mount proc on /proc" in lines
