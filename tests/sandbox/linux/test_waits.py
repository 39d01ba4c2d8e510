"""Waits end: for what comes, for what cannot come, and looks at files stay away from the silent."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.linux import waits
from pytest_isolate.sandbox.mounts import silent
from pytest_isolate.sandbox.mounts.silent import Silent
from pytest_isolate.sandbox.rootfs import careful
from pytest_isolate.sandbox.rootfs.careful import Careful
from pytest_isolate.sandbox.rootfs.host import Disk
from pytest_isolate.sandbox.rootfs.host import Host
from pytest_isolate.sandbox.rootfs.host import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = pytest.mark.any_python


@pytest.fixture
def child() -> Iterator[int]:
    """Return a child that sleeps."""
    pid = os.fork()
    if pid == 0:
        try:
            time.sleep(600)
        finally:
            os._exit(0)
    yield pid
    assert waits.reap(pid, 0) is not None


def test_stopped_process_is_not_waited_for_to_the_limit(child: int) -> None:
    os.kill(child, signal.SIGSTOP)
    pidfd = os.pidfd_open(child)
    why = waits.wait(child, pidfd, 500)
    os.close(pidfd)

    assert why.endswith(f"s (process {child}, stopped)"), why


def test_process_that_may_run_is_waited_for_to_the_limit(child: int) -> None:
    pidfd = os.pidfd_open(child)
    why = waits.wait(child, pidfd, 0.1)
    os.close(pidfd)

    assert why == f"within 0 s (process {child})"


def test_child_that_does_not_end_in_time_is_killed(child: int) -> None:
    assert waits.reap(child, 0) == signal.SIGKILL


def test_silent_child_is_no_wait_without_an_end(child: int) -> None:
    answer, held = os.pipe()
    words, status = waits.hear(answer, child, 0.1)
    os.close(held)

    assert (words, status) == (b"", signal.SIGKILL)


@pytest.mark.parametrize("fstype", ["nfs", "nfs4", "cifs", "fuse.sshfs", "fuseblk", "9p"])
def test_file_systems_of_others_may_hang(fstype: str) -> None:
    assert silent.may_hang(fstype)


@pytest.mark.parametrize("fstype", ["ext4", "xfs", "overlay", "tmpfs", "proc", "autofs", "fusectl"])
def test_file_systems_of_this_machine_are_not_looked_at(fstype: str) -> None:
    assert not silent.may_hang(fstype)


@pytest.fixture
def mount(tmp_path: Path) -> Silent:
    """Return a directory that is said not to answer, with a file and with links to it."""
    tmp_path.joinpath("mount/below").mkdir(parents=True)
    tmp_path.joinpath("link").symlink_to("mount/below")
    return Silent(target=os.fspath(tmp_path / "mount"), fstype="nfs")


def test_nothing_is_seen_of_a_silent_mount(mount: Silent, tmp_path: Path) -> None:
    files = Careful(Disk(), (mount,))
    node = files.node(mount.target)

    assert node is not None
    assert node.kind is Kind.SILENT
    assert files.node(f"{mount.target}/below") is None
    assert files.node(f"{tmp_path}/link/x") is None
    assert files.names(f"{tmp_path}/link") == ()
    assert files.real(f"{tmp_path}/link/x/y") == f"{mount.target}/below/x/y"


def test_all_else_is_seen_as_it_is(mount: Silent, tmp_path: Path) -> None:
    files = Careful(Disk(), (mount,))
    link = files.node(f"{tmp_path}/link")

    assert link is not None
    assert (link.kind, link.to) == (Kind.SYMLINK, "mount/below")
    assert files.names(f"{tmp_path}") == ("link", "mount")
    assert files.node("/") == Disk().node("/")
    assert files.real("/proc/self/..") == "/proc"


def test_what_is_needed_of_it_is_refused_by_name(mount: Silent, tmp_path: Path) -> None:
    host = careful.without_silent(Host.survey(privileged=False), (mount,))

    with pytest.raises(SandboxError, match=r"^show x: .*/mount \(nfs\) does not answer \(.*umount"):
        careful.require(host, f"{tmp_path}/link/x", "show x")
    careful.require(host, f"{tmp_path}", "show all")
