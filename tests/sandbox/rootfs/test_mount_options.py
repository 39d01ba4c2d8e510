"""What a mount of the host allows is what is allowed inside: noexec, nosuid and their like."""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING
from typing import Final

import pytest

from pytest_isolate.sandbox.linux import libc  # the calls that Python lacks
from pytest_isolate.sandbox.spec import Spec

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox.rootfs.conftest import Identity
    from tests.sandbox.rootfs.conftest import Maker

pytestmark = pytest.mark.any_python

#: Flags of statvfs(3) by those of mount(2).
SHOWN: Final = {
    libc.MS_NOSUID: os.ST_NOSUID,
    libc.MS_NODEV: os.ST_NODEV,
    libc.MS_NOEXEC: os.ST_NOEXEC,
    libc.MS_NOATIME: os.ST_NOATIME,
    libc.MS_NODIRATIME: os.ST_NODIRATIME,
    libc.MS_RELATIME: os.ST_RELATIME,
}


def mount_disk(place: Path, flags: int) -> None:
    """Mount a disk with a program on it, as the machine's root."""
    libc.mount("tmpfs", str(place), "tmpfs", 0, "mode=0777")
    shutil.copy("/bin/true", place / "program")
    (place / "program").chmod(0o755)
    (place / "below").mkdir(exist_ok=True)
    libc.mount(None, str(place), None, libc.MS_REMOUNT | libc.MS_BIND | flags)


def run(path: Path) -> str:
    """Return the name of what running *path* raises, or its status."""
    try:
        pid = os.posix_spawn(path, [str(path)], {})
    except OSError as error:
        return type(error).__name__
    return str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def flags_of(path: Path) -> set[int]:
    now = os.statvfs(path).f_flag
    return {flag for flag, shown in SHOWN.items() if now & shown}


@pytest.mark.parametrize(
    "flags",
    [
        {libc.MS_NOEXEC, libc.MS_RELATIME},
        {libc.MS_NOSUID, libc.MS_NOATIME},
        {libc.MS_NOSUID, libc.MS_NODEV, libc.MS_NOEXEC, libc.MS_NODIRATIME, libc.MS_RELATIME},
        set(),
    ],
)
@pytest.mark.parametrize("read_only", [False, True], ids=["writable", "read-only"])
def test_a_mount_keeps_its_options(
    flags: set[int], sandbox: Maker, outside: Path, *, read_only: bool
) -> None:
    disk = outside / "disk"
    disk.mkdir()

    def landscape() -> None:
        strict = 0 if {libc.MS_RELATIME, libc.MS_NOATIME} & flags else libc.MS_STRICTATIME
        mount_disk(disk, sum(flags) | strict | libc.MS_RDONLY * read_only)

    box = sandbox(Spec(), landscape)

    # Devices work nowhere but in /dev.
    assert box.run(flags_of, disk) - {libc.MS_NODEV} == flags - {libc.MS_NODEV}
    assert box.run(run, disk / "program") == ("PermissionError" if libc.MS_NOEXEC in flags else "0")
    assert box.run(lambda: bool(os.statvfs(disk).f_flag & os.ST_RDONLY)) == read_only
    assert box.notes == ()


def test_a_copy_of_a_program_does_not_run_where_the_program_does_not(
    sandbox: Maker, outside: Path
) -> None:
    disk = outside / "disk"
    disk.mkdir()
    box = sandbox(Spec(), lambda: mount_disk(disk, libc.MS_NOEXEC))

    def change_and_run() -> str:
        shutil.copy(disk / "program", disk / "copy")
        (disk / "copy").chmod(0o755)
        return run(disk / "copy")

    assert box.run(change_and_run) == "PermissionError"


def test_the_options_of_mounts_below_and_over_mounts_are_their_own(
    sandbox: Maker, outside: Path
) -> None:
    disk = outside / "disk"
    disk.mkdir()
    target, source = outside / "target", outside / "source"
    target.touch()
    shutil.copy("/bin/true", source)

    def landscape() -> None:
        mount_disk(disk, libc.MS_NOSUID)
        mount_disk(disk, libc.MS_NOEXEC)
        mount_disk(disk / "below", libc.MS_NODIRATIME)
        libc.mount(str(source), str(target), None, libc.MS_BIND)
        flags = libc.MS_REMOUNT | libc.MS_BIND | libc.MS_NOEXEC
        libc.mount(None, str(target), None, flags)

    box = sandbox(Spec(), landscape)

    assert box.run(run, disk / "program") == "PermissionError"
    assert libc.MS_NOSUID not in box.run(flags_of, disk)
    assert box.run(run, disk / "below/program") == "0"
    assert libc.MS_NODIRATIME in box.run(flags_of, disk / "below")
    assert box.run(run, target) == "PermissionError"


def test_nobody_inside_takes_an_option_off(
    identity: Identity, sandbox: Maker, outside: Path
) -> None:
    disk = outside / "disk"
    disk.mkdir()
    box = sandbox(Spec(), lambda: mount_disk(disk, libc.MS_NOEXEC))

    def take_off() -> str:
        if not identity.privileged:
            libc.unshare(libc.CLONE_NEWUSER)
        try:
            libc.unshare(libc.CLONE_NEWNS)
            libc.mount(None, str(disk), None, libc.MS_REMOUNT | libc.MS_BIND)
        except OSError:
            return "refused"
        return run(disk / "program")

    assert box.run(take_off) in {"refused", "PermissionError"}


def test_a_program_with_a_special_bit_gains_nothing_on_a_nosuid_mount(
    sandbox: Maker, outside: Path
) -> None:
    disk = outside / "disk"
    disk.mkdir()

    def landscape() -> None:
        mount_disk(disk, 0)
        (disk / "program").chmod(0o4755)
        libc.mount(None, str(disk), None, libc.MS_REMOUNT | libc.MS_BIND | libc.MS_NOSUID)

    box = sandbox(Spec(), landscape)

    assert stat.S_IMODE(box.run(lambda: (disk / "program").stat().st_mode)) == 0o4755
    assert libc.MS_NOSUID in box.run(flags_of, disk)
