"""The look at what a sandbox has written finds the largest files, leaves that alone, and ends."""

from __future__ import annotations

from contextlib import contextmanager
import os
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox.supervise import copied_files
from pytest_isolate.sandbox.supervise import largest_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.any_python

MIB = 1 << 20


@contextmanager
def store(top: Path, path: str) -> Iterator[largest_files.Store]:
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield largest_files.Store(fd=fd, path=path)
    finally:
        os.close(fd)


def names(top: Path, path: str = "/inside") -> list[str]:
    with store(top, path) as one:
        return [large.path for large in largest_files.largest([one, one])]


def write(path: Path, mebibytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(mebibytes * MIB))


def test_the_largest_come_first_and_only_some(tmp_path: Path) -> None:
    for size in range(1, 8):
        write(tmp_path / f"below/{size}/file", size)
    (tmp_path / "small").write_text("small", "utf-8")

    assert names(tmp_path) == [f"/inside/below/{size}/file" for size in (7, 6, 5, 4, 3)]
    assert names(tmp_path / "below/7", "/") == ["/file"]


def test_a_file_counts_as_what_it_occupies_and_once(tmp_path: Path) -> None:
    write(tmp_path / "file", 2)
    (tmp_path / "again").hardlink_to(tmp_path / "file")
    with (tmp_path / "sparse").open("wb") as sparse:
        sparse.truncate(900 * MIB)

    assert len(names(tmp_path)) == 1


def test_nothing_is_followed_or_waited_for(tmp_path: Path) -> None:
    write(tmp_path / "outside/file", 2)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "outside")
    (inside / "file").symlink_to(tmp_path / "outside/file")
    os.mkfifo(inside / "fifo")

    assert names(inside) == []


def test_there_is_an_end_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        write(tmp_path / f"{number}/file", 1)
    monkeypatch.setattr(largest_files, "_MOST", 100)
    assert len(names(tmp_path)) == 50

    monkeypatch.setattr(largest_files, "_ENTRIES", 60)
    assert len(names(tmp_path)) < 50
    monkeypatch.setattr(largest_files, "_SECONDS", 0)
    assert names(tmp_path) == []


def test_a_process_that_is_gone_copies_nothing() -> None:
    assert copied_files.being_copied([2**22 + 1]) == ()
