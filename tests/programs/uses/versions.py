"""Version control."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final

from tests.programs.uses.helping import answers
from tests.programs.uses.helping import free_port
from tests.programs.uses.helping import run
from tests.programs.uses.helping import serving

if TYPE_CHECKING:
    from pathlib import Path

_WHO: Final = ["-c", "user.name=Me", "-c", "user.email=me@example.test"]


def test_git(tmp_path: Path) -> None:
    there = tmp_path / "there"
    run("git", "init", "--quiet", "--initial-branch=main", there)
    (there / "file").write_text("one\n", encoding="utf-8")
    run("git", "-C", there, "add", ".")
    run("git", *_WHO, "-C", there, "commit", "--quiet", "--message=first")
    port = free_port()
    daemon = ["git", "daemon", f"--base-path={tmp_path}", "--export-all", "--reuseaddr"]
    daemon += ["--listen=127.0.0.1", f"--port={port}"]
    with serving(*daemon, log=tmp_path / "log", ready=lambda: answers(port), statuses=(-15, 1)):
        run("git", "clone", "--quiet", f"git://127.0.0.1:{port}/there", tmp_path / "here")
    here = tmp_path / "here"
    run("git", "-C", here, "worktree", "add", "-b", "other", tmp_path / "tree")
    (here / "file").write_text("two\n", encoding="utf-8")
    run("git", *_WHO, "-C", here, "commit", "--quiet", "--all", "--message=second")
    run("git", "-C", here, "gc", "--quiet")

    assert run("git", "-C", here, "log", "--format=%s") == "second\nfirst\n"
    assert "-one\n+two\n" in run("git", "-C", here, "diff", "other", "main")
    assert run("git", "-C", here, "status", "--porcelain") == ""
    assert run("git", "-C", here, "fsck", "--no-progress") == ""


def test_subversion(tmp_path: Path) -> None:
    repository, copy = tmp_path / "repository", tmp_path / "copy"
    options = ["--non-interactive", f"--config-dir={tmp_path}/settings"]
    run("svnadmin", "create", repository)
    run("svn", *options, "checkout", f"file://{repository}", copy)
    (copy / "file").write_text("one\n", encoding="utf-8")
    run("svn", *options, "add", "file", cwd=copy)

    assert "Committed revision 1." in run("svn", *options, "commit", "-m", "first", cwd=copy)
    assert run("svn", *options, "cat", f"file://{repository}/file") == "one\n"
    assert "Verified revision 1." in run("svnadmin", "verify", repository)


def test_mercurial(tmp_path: Path) -> None:
    plain = {"HGPLAIN": "1", "HGRCPATH": ""}
    here, there = tmp_path / "here", tmp_path / "there"
    run("hg", "init", there, env=plain)
    (there / "file").write_text("one\n", encoding="utf-8")
    run("hg", "commit", "-A", "-u", "me", "-m", "first", cwd=there, env=plain)
    run("hg", "clone", there, here, env=plain)

    assert run("hg", "log", "-T", "{rev} {desc}\n", cwd=here, env=plain) == "0 first\n"
    assert (here / "file").read_text(encoding="utf-8") == "one\n"
