"""Copies of files, made when a sandbox is: of what the plan saw something else may have become."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox.mounts.copies import copy
from pytest_isolate.sandbox.mounts.inroot import NewRoot
from pytest_isolate.sandbox.mounts.values import Copy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


pytestmark = [pytest.mark.any_python, pytest.mark.usefixtures("nothing_is_left")]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[NewRoot]:
    (tmp_path / "root").mkdir()
    root = NewRoot(str(tmp_path / "root"))
    yield root
    root.close()


def of(source: Path) -> Copy:
    return Copy(target="/copy", source=str(source), size_limit=1000)


def test_a_copy_has_the_text_the_mode_and_the_time(root: NewRoot, tmp_path: Path) -> None:
    source, made = tmp_path / "source", tmp_path / "root/copy"
    source.write_text("text", "utf-8")
    source.chmod(0o604)
    os.utime(source, ns=(1, 2))

    umask = os.umask(0)
    why = copy(root, of(source))
    os.umask(umask)

    status = made.stat()
    assert why == ""
    assert made.read_text("utf-8") == "text"
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o604, 2)


def test_an_empty_file_is_copied(root: NewRoot, tmp_path: Path) -> None:
    (tmp_path / "source").touch()

    assert copy(root, of(tmp_path / "source")) == ""
    assert (tmp_path / "root/copy").read_bytes() == b""


def test_what_has_grown_or_become_something_else_is_not_copied(
    root: NewRoot, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(b"x" * 1001)
    os.mkfifo(tmp_path / "fifo")

    assert copy(root, of(tmp_path / "large")) != ""
    assert copy(root, of(tmp_path / "fifo")) != ""
    assert not (tmp_path / "root/copy").exists()


def test_what_is_gone_is_an_error_of_the_kernels(root: NewRoot, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        copy(root, of(tmp_path / "gone"))
