"""Places inside a root, whatever links that root has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox import mounts
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.mounts.inroot import NewRoot
from pytest_isolate.sandbox.mounts.values import Bind
from pytest_isolate.sandbox.mounts.values import Directory
from pytest_isolate.sandbox.mounts.values import File
from pytest_isolate.sandbox.mounts.values import Overlay
from pytest_isolate.sandbox.mounts.values import Symlink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_isolate.sandbox.mounts.values import Mount


pytestmark = [pytest.mark.any_python, pytest.mark.usefixtures("nothing_is_left")]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture
def root(top: Path) -> Iterator[NewRoot]:
    root = NewRoot(str(top))
    yield root
    root.close()


def place(path: str) -> str:
    return os.path.realpath(path)


def test_missing_directories_are_made_down_to_the_place(root: NewRoot, top: Path) -> None:
    assert place(root.make("/a/b/c", directory=True)) == f"{top}/a/b/c"
    assert place(root.make("/a/b/file", directory=False)) == f"{top}/a/b/file"
    assert (top / "a/b/c").is_dir()
    assert (top / "a/b/file").is_file()


def test_what_is_there_is_kept(root: NewRoot, top: Path) -> None:
    (top / "file").write_text("kept", "utf-8")

    root.make("/file", directory=False)

    assert (top / "file").read_text("utf-8") == "kept"


@pytest.mark.parametrize("to", ["{outside}", "../outside", "../../../../../..{outside}"])
def test_no_link_leads_out(root: NewRoot, top: Path, tmp_path: Path, to: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (top / "link").symlink_to(to.format(outside=outside))

    made = place(root.make("/link/new", directory=True))

    assert made.startswith(f"{top}/")
    assert os.listdir(outside) == []


def test_a_link_that_leads_nowhere_is_followed_by_making_its_end(root: NewRoot, top: Path) -> None:
    (top / "etc").mkdir()
    (top / "etc/resolv.conf").symlink_to("../run/resolve/stub")

    assert place(root.make("/etc/resolv.conf", directory=False)) == f"{top}/run/resolve/stub"


def test_links_in_a_circle_are_an_error(root: NewRoot, top: Path) -> None:
    (top / "one").symlink_to("two")
    (top / "two").symlink_to("one")

    with pytest.raises(OSError, match="symbolic links"):
        root.make("/one/below", directory=True)


@pytest.mark.parametrize("number", ["1", "self"])
def test_no_link_of_proc_leads_out(root: NewRoot, top: Path, number: str) -> None:
    (top / "link").symlink_to(f"/proc/{number}/root/etc")

    assert place(root.make("/link/new", directory=True)).startswith(f"{top}/proc/{number}/root")


def test_what_was_mounted_through_a_link_is_found_through_it_again(
    root: NewRoot, top: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (top / "inside").mkdir()
    (top / "dev").symlink_to("/inside")

    root.make("/dev", directory=True)
    root.mounted("/dev", empty=True)

    assert not root.is_own("/dev/null")
    assert place(root.make("/dev/null", directory=False)) == f"{top}/inside/null"


def test_an_empty_mount_is_the_plans_own_until_something_is_mounted_on_it(root: NewRoot) -> None:
    root.make("/own", directory=True)
    root.mounted("/own", empty=True)
    root.make("/own/host", directory=True)
    root.mounted("/own/host", empty=False)

    assert root.is_own("/own/file")
    assert not root.is_own("/own/host/file")
    assert not root.is_own("/file")


def test_a_link_of_the_plans_own_leads_to_a_place_inside(root: NewRoot, top: Path) -> None:
    root.mounted("/", empty=True)
    root.link("/bin", "/usr/bin")

    assert place(root.make("/bin/sh", directory=False)) == f"{top}/usr/bin/sh"


def test_no_descriptor_is_left_open(top: Path) -> None:
    before = os.listdir("/proc/self/fd")
    root = NewRoot(str(top))
    for number in range(5):
        root.make(f"/{number}/a", directory=True)
        root.find(f"/{number}")
    root.mounted("/", empty=True)
    root.close()

    assert os.listdir("/proc/self/fd") == before


# The same through the execution of a plan, as far as it needs no privilege.


def test_directories_links_and_files_are_made_whatever_the_umask(top: Path) -> None:
    umask = os.umask(0o077)
    try:
        notes = mounts.execute(
            (
                Directory(target="/", mode=0o711),
                Directory(target="/open", mode=0o1777),
                Directory(target="/deep/er"),
                Symlink(target="/link", to="open"),
                Symlink(target="/open", to="nowhere"),
                File(target="/etc/hosts", text="127.0.0.1 localhost\n"),
            ),
            str(top),
            "/nowhere",
            userns=True,
        )
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(umask)

    assert notes == ()
    assert {p: (top / p).stat().st_mode & 0o7777 for p in (".", "open", "deep", "deep/er")} == {
        ".": 0o711,
        "open": 0o1777,
        "deep": 0o755,
        "deep/er": 0o755,
    }
    assert (top / "link").readlink() == Path("open")
    assert (top / "etc/hosts").read_text("utf-8") == "127.0.0.1 localhost\n"


def test_an_error_says_what_was_being_done_and_why(top: Path) -> None:
    bind = Bind(target="/x", source="/no/such/file")

    with pytest.raises(SandboxError) as caught:
        mounts.execute([bind], str(top), "/nowhere", userns=True)

    assert str(caught.value).startswith("mount /no/such/file on /x (read-only, recursive): ")
    assert caught.value.errno_name in {"ENOENT", "EPERM"}


@pytest.mark.parametrize(
    "gone",
    [
        Bind(target="/gone", source="/no/such", optional=True),
        Overlay(target="/gone", lower="/no/such", optional=True),
    ],
)
def test_what_the_host_removed_since_is_left_out_if_it_may_be(top: Path, gone: Mount) -> None:
    assert mounts.execute([gone], str(top), str(top), userns=False) == ()
