"""Programs about files, archives and keys."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from tests.programs.uses.helping import answers
from tests.programs.uses.helping import found
from tests.programs.uses.helping import free_port
from tests.programs.uses.helping import run
from tests.programs.uses.helping import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

import pytest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a directory with a file, a hard link, a symbolic one, a pipe and a sparse file."""
    place = tmp_path / "tree"
    (place / "sub").mkdir(parents=True)
    (place / "file").write_text("content", encoding="utf-8")
    (place / "file").chmod(0o751)
    os.link(place / "file", place / "sub/hard")
    (place / "soft").symlink_to("sub/hard")
    os.mkfifo(place / "pipe")
    with (place / "sparse").open("wb") as file:
        file.truncate(1 << 24)
    return place


def _is_the_same(there: Path, tree: Path) -> bool:
    return (
        (there / "file").read_text(encoding="utf-8") == "content"
        and (there / "file").stat().st_mode == (tree / "file").stat().st_mode
        and (there / "file").samefile(there / "sub/hard")
        and os.readlink(there / "soft") == "sub/hard"
        and stat.S_ISFIFO((there / "pipe").lstat().st_mode)
    )


def test_tar(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    run("tar", "-C", tree, "--sparse", "-cJf", tmp_path / "all.tar.xz", ".")
    run("tar", "-C", out, "-xpf", tmp_path / "all.tar.xz")

    assert _is_the_same(out, tree)
    assert (out / "sparse").stat().st_size == 1 << 24
    assert (out / "sparse").stat().st_blocks < 100
    # Links to what is there already, and no change between looking and reading.
    assert run("tar", "-C", out, "--compare", "-f", tmp_path / "all.tar.xz") == ""


def test_cpio(tree: Path, tmp_path: Path) -> None:
    names = run("find", ".", "-depth", cwd=tree)
    out = tmp_path / "out"
    out.mkdir()
    run("cpio", "-o", "-H", "newc", "-F", tmp_path / "all.cpio", text=names, cwd=tree)
    run("cpio", "-i", "-d", "-F", tmp_path / "all.cpio", cwd=out)

    assert _is_the_same(out, tree)


def test_rsync(tree: Path, tmp_path: Path) -> None:
    port = free_port()
    out = tmp_path / "out"
    configuration = tmp_path / "rsyncd.conf"
    configuration.write_text(
        f"use chroot = no\nport = {port}\naddress = 127.0.0.1\n[tree]\npath = {tree}\n"
        + ("uid = root\ngid = root\n" if os.geteuid() == 0 else ""),
        encoding="utf-8",
    )
    server = ["rsync", "--daemon", "--no-detach", f"--config={configuration}"]
    again = ["rsync", "-aH", "--stats", f"rsync://127.0.0.1:{port}/tree/", out]
    with serving(*server, log=tmp_path / "log", ready=lambda: answers(port), statuses=(0, 20)):
        run(*again)
        assert _is_the_same(out, tree)

        assert "Number of regular files transferred: 0\n" in run(*again)


def test_busybox(tmp_path: Path) -> None:
    run("busybox", "mkdir", "-p", tmp_path / "bin")
    run("busybox", "--install", "-s", tmp_path / "bin")

    only = {"PATH": f"{tmp_path}/bin"}
    said = run(
        "env", "sh", "-c", "seq 5 | awk '{s += $1} END {print s}'; echo abc | md5sum", env=only
    )

    assert said.split() == ["15", "0bee89b07a248e27c83fc3d5951213c1", "-"]


def test_zip(tree: Path, tmp_path: Path) -> None:
    (tree / "pipe").unlink()
    run("zip", "-r", "-y", tmp_path / "all.zip", ".", cwd=tree)
    run("unzip", "-d", tmp_path / "out", tmp_path / "all.zip")

    assert (tmp_path / "out/file").read_text(encoding="utf-8") == "content"
    assert os.readlink(tmp_path / "out/soft") == "sub/hard"


def test_e2fsprogs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("content", encoding="utf-8")
    disk = tmp_path / "disk"
    run(found("mkfs.ext4"), "-q", disk, "8M")
    run(found("debugfs"), "-w", "-R", f"write {tmp_path}/file copied", disk)

    assert run(found("debugfs"), "-R", "cat copied", disk).endswith("content")
    assert run(found("e2fsck"), "-fn", disk)


def test_squashfs(tree: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    run("mksquashfs", tree, disk, "-quiet", "-no-progress")
    run("unsquashfs", "-no-progress", "-d", tmp_path / "out", disk)

    assert _is_the_same(tmp_path / "out", tree)


@pytest.fixture
def keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have an empty home of GnuPG; the agent, whose socket is there, ends with the test."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    yield
    run("gpgconf", "--kill", "all")


@pytest.mark.usefixtures("keyring")
def test_gpg(tmp_path: Path) -> None:
    gpg = ["gpg", "--batch", "--yes", "--pinentry-mode=loopback", "--passphrase="]
    run(*gpg, "--quick-generate-key", "me@example.test", "ed25519", "sign", "never")
    (tmp_path / "text").write_text("signed", encoding="utf-8")
    run(*gpg, "--detach-sign", tmp_path / "text")

    said = run("gpg", "--verify", tmp_path / "text.sig", tmp_path / "text")

    assert 'Good signature from "me@example.test"' in said


def test_util_linux(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    held = run(
        "flock", lock, "flock", "--nonblock", "--conflict-exit-code=7", lock, "true", status=7
    )
    run("fallocate", "-l", "1M", tmp_path / "space")
    (tmp_path / "a").write_text("a", encoding="utf-8")
    run("setsid", "--wait", "cp", tmp_path / "a", tmp_path / "b")
    limited = run("prlimit", "--nofile=64", "sh", "-c", "ulimit -n")

    assert held == ""
    assert (tmp_path / "space").stat().st_size == 1 << 20
    assert (tmp_path / "b").exists()
    assert limited == "64\n"
    assert "/proc" in run("findmnt", "-n", "-o", "TARGET", "/proc")
