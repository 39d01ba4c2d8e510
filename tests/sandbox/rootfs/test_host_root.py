"""The host's own tree inside a sandbox, on the real kernel."""

from __future__ import annotations

import errno
import os
from pathlib import Path
import shutil
import socket
import stat
import tempfile
from typing import TYPE_CHECKING
from typing import Any

import pytest

from pytest_isolate.sandbox.linux import libc  # the calls that Python lacks
from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.sandbox.spec import Limits
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.rootfs.conftest import Identity
    from tests.sandbox.rootfs.conftest import Maker

#: The number of the first process besides init: where Linux cannot mount the proc of a sandbox from
#: outside (before 6.18), who mounts it for the machine's root has had one.
FIRST = {2, 3}
EVERYWHERE = ("/", "/tmp", "/var/tmp", "/dev/shm", "/run", "/dev", "/etc", "/usr", "/root", "/var")


def refusal(call: Callable[..., Any], *arguments: object) -> str:
    """Return the name of the errno that *call* fails with, or "" if it does not."""
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def write(path: str | Path, text: str = "x", flags: int = os.O_CREAT) -> None:
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    os.write(fd, text.encode())
    os.close(fd)


def start_of(path: str, length: int) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    data = os.read(fd, length)
    os.close(fd)
    return data


def write_everywhere(places: tuple[str, ...], name: str) -> list[str]:
    """Write a file in each of *places* where that is allowed; return where."""
    return [place for place in places if not refusal(write, f"{place}/{name}")]


# Nothing gets out.


def test_nothing_written_anywhere_survives(
    identity: Identity, sandbox: Maker, outside: Path
) -> None:
    checkout = Path(tempfile.mkdtemp(prefix="isolate-"))
    identity.own(checkout)
    places = (*EVERYWHERE, identity.home, str(outside), str(checkout))
    name = outside.name

    try:
        box = sandbox(Spec(project=(str(checkout),)))
        written = box.run(write_everywhere, places, name)
        seen = box.run(lambda: [place for place in places if os.path.exists(f"{place}/{name}")])
        survivors = [place for place in places if os.path.lexists(f"{place}/{name}")]
    finally:
        shutil.rmtree(checkout)

    always = {"/tmp", "/var/tmp", "/dev/shm", identity.home, str(outside), str(checkout)}
    assert set(written) == (set(places) if identity.privileged else always)
    assert seen == written
    assert survivors == []


def test_two_sandboxes_do_not_see_each_others_files(sandbox: Maker, outside: Path) -> None:
    first, second = sandbox(Spec()), sandbox(Spec())
    places = ("/tmp", str(outside))

    first.run(write_everywhere, places, "mine")

    assert not second.run(lambda: [p for p in places if os.path.exists(f"{p}/mine")])


def test_changing_and_removing_the_hosts_files_changes_nothing_outside(
    identity: Identity, sandbox: Maker, outside: Path
) -> None:
    files = [outside / name for name in ("changed", "removed", "renamed", "mode")]
    for file in files:
        file.write_text("before", "utf-8")
        identity.own(file)

    def change() -> list[str]:
        write(files[0], "after!")
        files[1].unlink()
        files[2].rename(outside / "new name")
        files[3].chmod(0)
        return sorted(os.listdir(outside))

    inside = sandbox(Spec()).run(change)

    assert inside == ["changed", "home", "mode", "new name"]
    assert sorted(os.listdir(outside)) == ["changed", "home", "mode", "removed", "renamed"]
    assert {file.read_text("utf-8") for file in files} == {"before"}
    assert files[3].stat().st_mode & 0o777 == 0o644


def test_the_old_root_is_out_of_sight(sandbox: Maker) -> None:
    box = sandbox(Spec())

    def look() -> tuple[int, int, str]:
        tree = mountinfo.current()
        above = {mount.parent for mount in tree} - {mount.id for mount in tree}
        return len(above), os.getpid(), os.path.realpath("/..")

    trees, pid, top = box.run(look)
    assert (trees, top) == (1, "/")
    assert pid in FIRST


def test_a_device_node_belongs_to_the_sandbox(identity: Identity, sandbox: Maker) -> None:
    before = Path("/dev/null").stat()

    refused = sandbox(Spec()).run(refusal, os.chmod, "/dev/null", 0o600)

    after = Path("/dev/null").stat()
    assert (after.st_mode, after.st_ctime_ns) == (before.st_mode, before.st_ctime_ns)
    # A node of its own, or where that may not be made (CAP_MKNOD) the host's, read-only.
    assert refused == "EROFS" or (identity.privileged and not refused)


# A sandbox that was made ahead of time.


def test_a_sandbox_made_ahead_sees_what_the_host_writes_afterwards(
    sandbox: Maker, outside: Path
) -> None:
    (outside / "changed").write_text("before", "utf-8")
    (outside / "swapped").write_text("before", "utf-8")
    (outside / "removed").write_text("before", "utf-8")
    box = sandbox(Spec())

    (outside / "changed").write_text("after", "utf-8")
    (outside / "new").write_text("new", "utf-8")
    (outside / "directory").mkdir()
    (outside / "directory/file").write_text("deep", "utf-8")
    (outside / "temporary").write_text("after", "utf-8")
    (outside / "temporary").rename(outside / "swapped")
    (outside / "removed").unlink()

    def look() -> tuple[list[str], list[str]]:
        names = ("changed", "swapped", "new", "directory/file")
        return sorted(os.listdir(outside)), [(outside / name).read_text("utf-8") for name in names]

    assert box.run(look) == (
        ["changed", "directory", "home", "new", "swapped"],
        ["after", "after", "new", "deep"],
    )


# What is there.


def test_scratch_directories_are_empty_and_open_to_all(identity: Identity, sandbox: Maker) -> None:
    def look() -> dict[str, tuple[list[str], int]]:
        scratch = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run")
        return {p: (os.listdir(p), stat.S_IMODE(os.stat(p).st_mode)) for p in scratch}

    found = sandbox(Spec()).run(look)

    entries, mode = found.pop("/run")
    assert [place for place, here in found.items() if here != ([], 0o1777)] == []
    assert all(os.path.isdir(f"/run/{name}") for name in entries)
    assert mode == (0o755 if identity.privileged else 0o555)


def test_a_tmpfs_holds_more_than_the_memory_cap(
    identity: Identity, sandbox: Maker, require: Callable[[str], None]
) -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cap = total * 3 // 4

    def sizes() -> list[int]:
        return [os.statvfs(p).f_blocks * os.statvfs(p).f_frsize for p in ("/tmp", "/dev/shm")]

    # A cgroup is for who runs this; with another user's sandbox the cap is kept by watching.
    is_own = identity.uid == os.geteuid()
    if is_own:
        require("memory")
    capped = Spec(limits=Limits(memory=cap)) if is_own else Spec(watched=cap)
    assert all(size >= cap for size in sandbox(capped).run(sizes))
    assert all(total // 3 < size <= total // 2 for size in sandbox(Spec()).run(sizes))


def test_devices_work(sandbox: Maker) -> None:
    def use() -> tuple[bytes, int, bytes, str, bytes, int]:
        write("/dev/null", "gone", os.O_CREAT | os.O_TRUNC)
        zeros, noise = start_of("/dev/zero", 4), len(start_of("/dev/urandom", 9))
        ours, theirs = os.openpty()
        os.write(ours, b"line\n")
        line = os.read(theirs, 9)
        reader, writer = os.pipe()
        os.write(writer, b"!")
        through = start_of(f"/dev/fd/{reader}", 1)
        full = refusal(write, "/dev/full", "x", 0)
        return zeros, noise, line, full, through, len(os.listdir("/dev/pts"))

    assert sandbox(Spec()).run(use) == (b"\0" * 4, 9, b"line\n", "ENOSPC", b"!", 2)


def test_only_the_sandboxs_own_processes_are_in_proc(sandbox: Maker) -> None:
    def look() -> tuple[list[str], int]:
        return sorted(name for name in os.listdir("/proc") if name.isdigit()), os.getpid()

    names, pid = sandbox(Spec()).run(look)
    assert names == ["1", str(pid)]
    assert pid in FIRST


@pytest.mark.parametrize(
    ("network", "own"), [(Network.LOOPBACK, True), (Network.NONE, True), (Network.HOST, False)]
)
def test_sys_shows_the_sandboxs_network_and_is_read_only(
    sandbox: Maker, network: Network, *, own: bool
) -> None:
    box = sandbox(Spec(network=network))

    devices = box.run(os.listdir, "/sys/class/net")

    assert sorted(devices) == (["lo"] if own else sorted(os.listdir("/sys/class/net")))
    assert box.run(lambda: os.statvfs("/sys").f_flag & os.ST_RDONLY)
    assert box.run(refusal, write, "/sys/kernel/mm/transparent_hugepage/enabled", "never", 0) in {
        "EROFS",
        "EACCES",
        "ENOENT",
    }


def test_the_host_name_resolves_inside(sandbox: Maker) -> None:
    box = sandbox(Spec(hostname="a-box"))

    assert box.run(socket.gethostbyname, "a-box") == "127.0.1.1"
    assert box.run(lambda: socket.gethostbyname("localhost")) == "127.0.0.1"


def test_a_file_mounted_on_the_host_is_there_and_read_only(sandbox: Maker, outside: Path) -> None:
    target, source = outside / "target", outside / "source"
    target.write_text("covered", "utf-8")
    source.write_text("seen", "utf-8")

    def landscape() -> None:
        libc.mount(str(source), str(target), None, libc.MS_BIND)

    box = sandbox(Spec(), landscape)

    assert box.notes == ()
    assert box.run(target.read_text) == "seen"
    assert box.run(refusal, write, target) in {"EROFS", "EACCES"}


def test_a_read_only_mount_of_the_host_stays_so(
    identity: Identity, sandbox: Maker, outside: Path
) -> None:
    disk = outside / "disk"
    disk.mkdir()

    def landscape() -> None:
        libc.mount("tmpfs", str(disk), "tmpfs", 0, "mode=0777")
        write(disk / "file", "here")
        libc.mount(None, str(disk), None, libc.MS_REMOUNT | libc.MS_BIND | libc.MS_RDONLY)

    box = sandbox(Spec(), landscape)

    assert box.notes == ()
    assert box.run((disk / "file").read_text) == "here"
    assert box.run(refusal, write, disk / "new") == "EROFS"
    assert identity.privileged or box.run(lambda: sorted(os.listdir(outside))) == ["disk", "home"]


def test_mounts_of_the_host_are_copy_on_write_with_all_beside_them(
    sandbox: Maker, outside: Path
) -> None:
    disk = outside / "a/disk"
    disk.mkdir(parents=True)
    (outside / "a/beside").write_text("beside", "utf-8")
    (outside / "link").symlink_to("a/disk")

    def landscape() -> None:
        libc.mount("tmpfs", str(disk), "tmpfs", 0, "mode=0777")
        write(disk / "file", "on the disk")

    box = sandbox(Spec(), landscape)

    def use() -> tuple[str, str, list[str]]:
        write(disk / "new")
        beside = (outside / "a/beside").read_text("utf-8")
        return (outside / "link/file").read_text("utf-8"), beside, sorted(os.listdir(disk))

    assert box.notes == ()
    assert box.run(use) == ("on the disk", "beside", ["file", "new"])


def test_what_overlayfs_refuses_is_read_only_and_noted(sandbox: Maker, outside: Path) -> None:
    stack, disk = outside / "stack", outside / "disk"
    for path in (stack, disk):
        path.mkdir()

    def landscape() -> None:
        # Two overlays: the kernel allows no third one on top.
        libc.mount("tmpfs", str(stack), "tmpfs")
        for name in ("lower1", "lower2", "upper1", "upper2", "work1", "work2"):
            (stack / name).mkdir()
        write(stack / "lower1/file", "deep")
        for number, target in ((1, stack / "lower2"), (2, disk)):
            layers = [f"{name}dir={stack}/{name}{number}" for name in ("lower", "upper", "work")]
            libc.mount("overlay", str(target), "overlay", 0, ",".join(layers))

    box = sandbox(Spec(), landscape)

    assert box.notes == (f"read-only: {disk} (overlay refused: EINVAL)",)
    assert box.run((disk / "file").read_text) == "deep"
    assert box.run(refusal, write, disk / "new") == "EROFS"


# What is put back.


def test_a_checkout_under_tmp_is_put_back_copy_on_write(identity: Identity, sandbox: Maker) -> None:
    with tempfile.TemporaryDirectory(prefix="isolate-") as directory:
        checkout = Path(directory, "co")
        checkout.mkdir()
        (checkout / "file").write_text("source", "utf-8")
        identity.own(directory, checkout)
        box = sandbox(Spec(project=(str(checkout),)))

        def use() -> tuple[str, list[str], list[str]]:
            write(checkout / "new")
            return (checkout / "file").read_text("utf-8"), os.listdir("/tmp"), os.listdir(directory)

        assert box.run(use) == ("source", [Path(directory).name], ["co"])
        assert os.listdir(checkout) == ["file"]


@pytest.mark.parametrize("place", ["outside", "/tmp", "/dev/shm"])
def test_a_writable_path_is_written_through(
    identity: Identity, sandbox: Maker, outside: Path, place: str
) -> None:
    above = str(outside) if place == "outside" else place
    with tempfile.TemporaryDirectory(prefix="isolate-", dir=above) as directory:
        path = Path(directory)
        identity.own(path)
        box = sandbox(Spec(writable=(directory,), project=(str(outside),)))

        box.run(write, path / "snapshot", "kept")
        box.run(write, outside / "lost")

        assert (path / "snapshot").read_text("utf-8") == "kept"
        assert (path / "snapshot").stat().st_uid == identity.uid
        assert not (outside / "lost").exists()


def test_a_writable_file_is_written_through(
    identity: Identity, sandbox: Maker, outside: Path
) -> None:
    file = outside / "file"
    file.write_text("before", "utf-8")
    identity.own(file)

    sandbox(Spec(writable=(str(file),))).run(write, file, "after!")

    assert file.read_text("utf-8") == "after!"


def test_a_project_deep_under_directories_of_others_can_be_written_to(
    identity: Identity, sandbox: Maker, outside: Path
) -> None:
    project = outside / "root/owned/project"
    project.mkdir(parents=True)
    (project / "file").write_text("before", "utf-8")
    identity.own(project, project / "file")

    def use() -> str:
        write(project / "new")
        write(project / "file", "after!")
        return (project / "file").read_text("utf-8")

    assert sandbox(Spec(project=(str(project),))).run(use) == "after!"
    assert os.listdir(project) == ["file"]


def test_paths_with_every_character_can_be_overlaid(identity: Identity, sandbox: Maker) -> None:
    with tempfile.TemporaryDirectory(prefix="is,o:l\\a te\n=") as directory:
        identity.own(directory)
        write(f"{directory}/file", "here")
        box = sandbox(Spec(project=(directory,)))

        assert box.notes == ()
        assert box.run(lambda: Path(directory, "file").read_text("utf-8")) == "here"
        assert box.run(refusal, write, f"{directory}/new") == ""
