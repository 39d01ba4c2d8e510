"""Behaviour of files, copy on write, that test suites rely on."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
from pathlib import Path
import shutil
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.sandbox.rootfs.copy_on_write import is_below
from pytest_isolate.sandbox.spec import Spec

if TYPE_CHECKING:
    from tests.sandbox.rootfs.conftest import Identity
    from tests.sandbox.rootfs.conftest import Maker
    from tests.sandbox.rootfs.conftest import Sandbox

pytestmark = pytest.mark.any_python

IN_MOVED_TO = 0x80
IN_CREATE = 0x100


def kernel() -> tuple[int, ...]:
    return tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])


needs_attributes = pytest.mark.skipif(
    kernel() < (6, 6), reason="Linux 6.6 gave tmpfs attributes of users"
)
needs_unnamed_files = pytest.mark.skipif(
    kernel() < (6, 10), reason="Linux 6.10 gave overlayfs unnamed files"
)


@pytest.fixture
def tree(identity: Identity, outside: Path) -> Path:
    """Return a tree of the host that the caller owns."""
    top = outside / "tree"
    (top / "directory/below").mkdir(parents=True)
    (top / "directory/below/file").write_text("deep", "utf-8")
    (top / "file").write_text("before", "utf-8")
    (top / "link").hardlink_to(top / "file")
    for path in (top, *top.rglob("*")):
        identity.own(path)
    return top


@pytest.fixture
def box(tree: Path, sandbox: Maker) -> Sandbox:
    return sandbox(Spec(project=(str(tree),)))


def test_a_directory_of_the_host_can_be_renamed_by_root_only(
    identity: Identity, box: Sandbox, tree: Path
) -> None:
    def rename() -> tuple[str, str]:
        try:
            (tree / "directory").rename(tree / "renamed")
        except OSError as error:
            return errno.errorcode[error.errno or 0], ""
        return "", (tree / "renamed/below/file").read_text("utf-8")

    # In a user namespace overlayfs cannot mark where a renamed directory came from.
    assert box.run(rename) == (("", "deep") if identity.privileged else ("EXDEV", ""))


@needs_attributes
def test_a_directory_of_the_host_can_be_moved_by_copying(box: Sandbox, tree: Path) -> None:
    def move() -> tuple[str, list[str]]:
        shutil.move(tree / "directory", tree / "moved")
        return (tree / "moved/below/file").read_text("utf-8"), sorted(os.listdir(tree))

    assert box.run(move) == ("deep", ["file", "link", "moved"])


def test_hard_links_stay_the_same_file_where_overlayfs_has_an_index(
    identity: Identity, box: Sandbox, tree: Path
) -> None:
    def change() -> tuple[bool, str]:
        (tree / "file").write_text("after", "utf-8")
        same = (tree / "file").samefile(tree / "link")
        return same, (tree / "link").read_text("utf-8")

    # There is none in a user namespace, and none over another overlay (a container's root).
    above = [m for m in mountinfo.visible(mountinfo.current()) if is_below(str(tree), m.target)]
    has_index = identity.privileged and above[-1].fstype != "overlay"
    assert box.run(change) == ((True, "after") if has_index else (False, "before"))


def test_a_hard_link_made_inside_is_the_same_file(box: Sandbox, tree: Path) -> None:
    def link() -> tuple[bool, int]:
        (tree / "first").write_text("new", "utf-8")
        (tree / "second").hardlink_to(tree / "first")
        return (tree / "second").samefile(tree / "first"), (tree / "second").stat().st_nlink

    assert box.run(link) == (True, 2)


def test_a_file_keeps_its_number_when_it_is_changed(box: Sandbox, tree: Path) -> None:
    def change() -> bool:
        path = tree / "directory/below/file"
        before = path.stat()
        path.write_text("after", "utf-8")
        after = path.stat()
        return (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino)

    assert box.run(change)


@needs_attributes
def test_attributes_can_be_changed(identity: Identity, box: Sandbox, tree: Path) -> None:
    def change() -> tuple[int, float, str, bytes, list[str]]:
        path = tree / "file"
        path.chmod(0o604)
        os.utime(path, (1, 2))
        os.setxattr(path, "user.mark", b"set")
        if identity.privileged:
            os.chown(path, 12, 34)
        status = path.stat()
        owner = f"{status.st_uid}:{status.st_gid}"
        mark = os.getxattr(path, "user.mark")
        return status.st_mode & 0o777, status.st_mtime, owner, mark, os.listxattr(path)

    owner = "12:34" if identity.privileged else f"{identity.uid}:{identity.gid}"
    assert box.run(change) == (0o604, 2.0, owner, b"set", ["user.mark"])


@needs_attributes
@pytest.mark.parametrize("place", ["/tmp", "/var/tmp", "/dev/shm"])
def test_scratch_directories_take_extended_attributes(box: Sandbox, place: str) -> None:
    def mark() -> bytes:
        path = Path(place, "file")
        path.touch()
        os.setxattr(path, "user.mark", b"set")
        return os.getxattr(path, "user.mark")

    assert box.run(mark) == b"set"


def test_it_is_noted_where_directories_cannot_be_removed(identity: Identity, box: Sandbox) -> None:
    is_old = kernel() < (6, 6)

    noted = any(note.startswith("directories that cannot") for note in box.all_notes)
    assert noted == (is_old and not identity.privileged)


@needs_attributes
def test_what_is_removed_and_made_anew_is_new(box: Sandbox, tree: Path) -> None:
    def renew() -> tuple[str, list[str]]:
        (tree / "file").unlink()
        (tree / "file").write_text("anew", "utf-8")
        shutil.rmtree(tree / "directory")
        (tree / "directory").mkdir()
        return (tree / "file").read_text("utf-8"), os.listdir(tree / "directory")

    assert box.run(renew) == ("anew", [])


def test_a_file_replaces_a_file_of_the_host_at_once(box: Sandbox, tree: Path) -> None:
    def replace() -> tuple[str, list[str]]:
        (tree / "temporary").write_text("after", "utf-8")
        (tree / "temporary").replace(tree / "file")
        return (tree / "file").read_text("utf-8"), sorted(os.listdir(tree))

    assert box.run(replace) == ("after", ["directory", "file", "link"])


@needs_unnamed_files
def test_an_unnamed_file_can_be_linked_into_the_tree(box: Sandbox, tree: Path) -> None:
    def link() -> str:
        fd = os.open(tree, os.O_TMPFILE | os.O_RDWR, 0o600)
        os.write(fd, b"unnamed")
        # With a directory, os.link calls linkat(2), which can follow the link.
        os.link(f"/proc/self/fd/{fd}", tree / "named", src_dir_fd=fd, follow_symlinks=True)
        os.close(fd)
        return (tree / "named").read_text("utf-8")

    assert box.run(link) == "unnamed"


def test_a_shared_mapping_reaches_the_file(box: Sandbox, tree: Path) -> None:
    def use() -> tuple[str, bytes]:
        with (tree / "file").open("r+b") as file, mmap.mmap(file.fileno(), 6) as view:
            view[:3] = b"MAP"
            through_view = (tree / "file").read_text("utf-8")
            os.pwrite(file.fileno(), b"PED", 3)
            return through_view, view[:]

    assert box.run(use) == ("MAPore", b"MAPPED")


def test_locks_exclude_each_other(box: Sandbox, tree: Path) -> None:
    def use() -> list[str]:
        refused = []
        with (tree / "file").open("r+") as first, (tree / "file").open("r+") as second:
            fcntl.flock(first, fcntl.LOCK_EX)
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                refused.append("flock")
            fcntl.lockf(first, fcntl.LOCK_EX)
            pid = os.fork()
            if pid == 0:
                with contextlib.suppress(BlockingIOError):
                    fcntl.lockf(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os._exit(0)
                os._exit(7)
            if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7:
                refused.append("lockf")
        return refused

    assert box.run(use) == ["flock", "lockf"]


def test_changes_are_watched(box: Sandbox, tree: Path) -> None:
    def watch() -> list[tuple[int, bytes]]:
        libc = ctypes.CDLL(None)
        fd = libc.inotify_init1(os.O_NONBLOCK)
        libc.inotify_add_watch(fd, os.fsencode(tree), IN_CREATE | IN_MOVED_TO)
        (tree / "new").touch()
        (tree / "file").rename(tree / "renamed")
        data = os.read(fd, 4096)
        events = []
        while data:
            _, mask, _, size = struct.unpack_from("iIII", data)
            events.append((mask, data[16 : 16 + size].rstrip(b"\0")))
            data = data[16 + size :]
        return events

    assert box.run(watch) == [(IN_CREATE, b"new"), (IN_MOVED_TO, b"renamed")]


def test_sockets_and_fifos_live_in_the_tree(box: Sandbox, tree: Path) -> None:
    def use() -> tuple[bytes, bytes]:
        os.chdir(tree)
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            server.bind("socket")
            server.listen()
            client.connect("socket")
            client.sendall(b"through")
            with server.accept()[0] as connection:
                received = connection.recv(99)
        os.mkfifo("fifo")
        reader = os.open("fifo", os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open("fifo", os.O_WRONLY)
        os.write(writer, b"flow")
        return received, os.read(reader, 99)

    assert box.run(use) == (b"through", b"flow")


def test_holes_stay_holes(identity: Identity, tree: Path, box: Sandbox) -> None:
    hollow = tree / "hollow"
    with hollow.open("wb") as file:
        file.truncate(1 << 30)
    identity.own(hollow)

    def use() -> tuple[int, bool]:
        with hollow.open("r+b") as file:
            file.write(b"x")
        status = hollow.stat()
        return status.st_size, status.st_blocks * 512 < 1 << 20

    assert box.run(use) == (1 << 30, True)


def test_a_large_directory_lists_every_name_once(
    identity: Identity, tree: Path, box: Sandbox
) -> None:
    names = [f"{number:05}" for number in range(3000)]
    for name in names:
        (tree / "directory" / name).touch()
        identity.own(tree / "directory" / name)

    def use() -> list[str]:
        for name in names[::2]:
            (tree / "directory" / name).unlink()
        for name in names[:600:3]:
            (tree / "directory" / name).write_text("again", "utf-8")
        return os.listdir(tree / "directory")

    listed = box.run(use)

    assert sorted(listed) == sorted({*names[1::2], *names[:600:3], "below"})


def test_the_file_system_tells_its_size(box: Sandbox, tree: Path) -> None:
    def look() -> tuple[bool, int]:
        figures = os.statvfs(tree)
        return 0 < figures.f_bavail <= figures.f_blocks, figures.f_namemax

    assert box.run(look) == (True, 255)
