"""Mounts as values."""

from __future__ import annotations

import dataclasses
import os
from typing import get_args

import pytest

from pytest_isolate.sandbox.mounts import values
from pytest_isolate.sandbox.mounts.values import Bind
from pytest_isolate.sandbox.mounts.values import Copy
from pytest_isolate.sandbox.mounts.values import Device
from pytest_isolate.sandbox.mounts.values import DevPts
from pytest_isolate.sandbox.mounts.values import Directory
from pytest_isolate.sandbox.mounts.values import File
from pytest_isolate.sandbox.mounts.values import Limits
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

LINES: dict[Mount, str] = {
    Directory(target="/run/lock", mode=0o1777): "make directory /run/lock (mode 1777)",
    Symlink(target="/bin", to="usr/bin"): "make link /bin -> usr/bin",
    File(target="/etc/hosts", text="abc"): "make file /etc/hosts (3 characters)",
    Tmpfs(target="/tmp", mode=0o1777): "mount tmpfs on /tmp (mode 1777)",
    Tmpfs(target="/t", size=4096): "mount tmpfs on /t (mode 0755, 4096 bytes)",
    Device(target="/dev/null", source="/dev/null", device=os.makedev(1, 3)): (
        "make device /dev/null (1:3)"
    ),
    Bind(target="/a", source="/b"): "mount /b on /a (read-only, recursive)",
    Bind(target="/a", source="/b", read_only=False, recursive=False): "mount /b on /a (writable)",
    Copy(target="/x", source="/y", size_limit=9): "copy /y to /x",
    Overlay(target="/x", lower="/y"): "mount overlay on /x over /y",
    Overlay(target="/x", lower="/y", mode=0o500): "mount overlay on /x over /y (mode 0500)",
    Overlay(target="/x", lower="/y", mode=0o500, kept=("noexec",)): (
        "mount overlay on /x over /y (mode 0500, noexec)"
    ),
    Own(target="/x", source="/y"): "mount one of its own on /x",
    Own(target="/x", source="/y", over=True): "mount one of its own on /x over /y",
    Proc(target="/proc"): "mount proc on /proc",
    Proc(target="/p", read_only=True): "mount proc on /p (read-only)",
    Sysfs(target="/sys"): "mount sysfs on /sys (read-only)",
    DevPts(target="/dev/pts"): "mount devpts on /dev/pts",
    Mqueue(target="/dev/mqueue"): "mount mqueue on /dev/mqueue",
    Limits(target="/sys/fs/cgroup"): "mount its own control groups on /sys/fs/cgroup (read-only)",
    ReadOnly(target="/proc/sys"): "make /proc/sys read-only",
    Mask(target="/proc/keys"): "mask /proc/keys",
}


@pytest.mark.parametrize(("mount", "line"), LINES.items(), ids=LINES.values())
def test_a_mount_is_described_in_one_line(mount: Mount, line: str) -> None:
    assert mount.describe() == line


def test_every_kind_of_mount_is_described_and_cannot_be_changed() -> None:
    kinds = get_args(values.Mount)

    assert {type(mount) for mount in LINES} == set(kinds)
    for mount in LINES:
        with pytest.raises(dataclasses.FrozenInstanceError):
            mount.target = "/elsewhere"  # type: ignore[misc]  # what is tested
