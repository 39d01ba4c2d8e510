from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st
import pytest

from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.sandbox.linux.mountinfo import MountPoint

#: A machine: a root with two hidden mounts, and a container's habits.
TABLE = rb"""
22 27 0:21 / /proc rw,relatime - proc proc rw
24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw,size=12334524k,mode=755
25 24 0:23 / /dev/shm rw,relatime - tmpfs tmpfs rw
30 25 0:27 / /dev/shm rw,relatime - tmpfs tmpfs rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
31 27 254:1 / /data rw,relatime shared:7 master:3 - ext4 /dev/vdb rw
32 31 254:2 / /data/inner rw,relatime - ext4 /dev/vdc rw
33 27 254:3 /sub /data rw,relatime - xfs /dev/vdd rw
34 27 254:0 /etc/resolv.conf /etc/resolv.conf ro,nosuid - ext4 /dev/vda rw
35 27 0:40 / /mnt/with\040blank\134and\011tab rw - vfat /dev/sda1 ro
36 27 0:41 / /gone\040dir//deleted rw - tmpfs tmpfs rw
""".lstrip()


def by_id() -> dict[int, MountPoint]:
    return {mount.id: mount for mount in mountinfo.parse(TABLE)}


def test_fields_are_read_whatever_the_number_of_optional_ones() -> None:
    found = by_id()

    assert found[31] == MountPoint(
        id=31, parent=27, root="/", target="/data", read_only=False, fstype="ext4", options=("rw",)
    )
    assert found[33] == MountPoint(
        id=33,
        parent=27,
        root="/sub",
        target="/data",
        read_only=False,
        fstype="xfs",
        options=("rw",),
    )


def test_options_of_the_file_system_are_told_one_by_one() -> None:
    assert by_id()[24].options == ("rw", "size=12334524k", "mode=755")


def test_escaped_characters_of_paths_are_restored() -> None:
    assert by_id()[35].target == "/mnt/with blank\\and\ttab"


def test_read_only_is_the_mount_or_the_file_system() -> None:
    read_only = {number for number, mount in by_id().items() if mount.read_only}

    assert read_only == {34, 35}


def test_what_stands_in_for_a_mount_keeps_its_options_but_not_the_file_systems() -> None:
    table = b"""\
1 0 8:1 / / rw,relatime - ext4 /dev/a rw
2 1 8:2 / /a rw,nosuid,nodev,noexec,noatime,nodiratime - xfs /dev/b rw,nodev
3 1 8:3 / /b rw - xfs /dev/c rw,noatime
"""
    kept = {mount.target: set(mount.kept) for mount in mountinfo.parse(table)}

    assert kept == {
        "/": set(),
        "/a": {"nosuid", "nodev", "noexec", "noatime", "nodiratime"},
        "/b": {"strictatime"},
    }


def test_a_mount_on_a_deleted_directory_is_left_out() -> None:
    assert 36 not in by_id()


def test_the_kernels_file_systems_are_not_real() -> None:
    unreal = {number for number, mount in by_id().items() if not mount.is_real}

    assert unreal == {22, 24}


@pytest.mark.parametrize(
    ("hidden", "by"),
    [(25, "a mount on the same place"), (31, "a later mount"), (32, "a mount on its parent")],
)
def test_a_hidden_mount_is_not_visible(hidden: int, by: str) -> None:
    seen = {mount.id for mount in mountinfo.visible(mountinfo.parse(TABLE))}

    assert hidden not in seen, by


def test_visible_mounts_come_by_path() -> None:
    seen = mountinfo.visible(mountinfo.parse(TABLE))

    assert [mount.id for mount in seen] == [27, 33, 24, 30, 34, 35, 22]


def test_a_chroot_without_a_root_mount_shows_what_lies_below() -> None:
    table = b"40 39 0:5 / /proc rw - proc proc rw\n41 39 8:1 / /home rw - ext4 /dev/sda1 rw\n"

    assert [m.id for m in mountinfo.visible(mountinfo.parse(table))] == [41, 40]


def test_this_machines_table_is_readable() -> None:
    mounts = mountinfo.current()

    assert {mount.target for mount in mounts} >= {"/proc"}
    assert len({mount.id for mount in mounts}) == len(mounts)


@given(st.binary(max_size=40).filter(lambda name: b"\0" not in name))
def test_any_path_survives_the_kernels_escaping(name: bytes) -> None:
    raw = b"/" + name
    # What the kernel escapes: show_mountinfo, mangle_path.
    escaped = b"".join(b"\\%03o" % c if c in b" \t\n\\#" else bytes((c,)) for c in raw)
    line = b"1 0 0:1 / %s rw - tmpfs tmpfs rw\n" % escaped

    (mount,) = mountinfo.parse(line) or (None,)

    assert mount is None or os.fsencode(mount.target) == raw
    assert mount is not None or name.endswith(b"//deleted")
