"""Numbers of files inside: those of the host, small enough for every program, and unique.

Sandboxes write to memory and read the host's disks: two file systems at least behind each overlay.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing
import os
import sqlite3
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox.linux import libc  # the calls that Python lacks
from pytest_isolate.sandbox.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.sandbox.rootfs.conftest import Identity
    from tests.sandbox.rootfs.conftest import Maker
    from tests.sandbox.rootfs.conftest import Sandbox

pytestmark = pytest.mark.any_python

#: The largest number that is exact in a double, which is what JavaScript has.
EXACT = 2**53


def plant(identity: Identity, top: Path) -> None:
    (top / "directory/below").mkdir(parents=True)
    for name in ("file", "directory/other", "directory/below/deep", "names/first"):
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).write_text(name, "utf-8")
    (top / "names/second").hardlink_to(top / "names/first")
    for path in (top, *top.rglob("*")):
        identity.own(path)


@pytest.fixture
def trees(identity: Identity, outside: Path) -> list[Path]:
    """Return a tree on the host's disk, and a place for one on another file system."""
    plant(identity, outside / "tree")
    (outside / "disk").mkdir()
    return [outside / "tree", outside / "disk/tree"]


@pytest.fixture
def box(identity: Identity, trees: list[Path], sandbox: Maker) -> Sandbox:
    def landscape() -> None:
        libc.mount("tmpfs", str(trees[1].parent), "tmpfs", 0, "mode=0777")
        plant(identity, trees[1])

    return sandbox(Spec(), landscape)


def paths(trees: list[Path]) -> Iterator[Path]:
    for tree in trees:
        yield from (tree, *tree.rglob("*"))


def numbers(trees: list[Path]) -> dict[str, tuple[int, int]]:
    found = {path: path.lstat() for path in paths(trees)}
    return {str(path): (status.st_dev, status.st_ino) for path, status in found.items()}


def change(trees: list[Path]) -> None:
    for tree in trees:
        for name in ("file", "directory/below/deep"):
            with (tree / name).open("a", encoding="utf-8") as file:
                file.write("more")
        (tree / "directory").chmod(0o700)
        (tree / "directory/new").touch()


def test_numbers_are_exact_in_every_language(box: Sandbox, trees: list[Path]) -> None:
    def look() -> list[int]:
        change(trees)
        return [number for pair in numbers(trees).values() for number in pair]

    assert max(box.run(look)) < EXACT


def test_a_plain_file_has_the_number_that_it_has_outside(box: Sandbox, trees: list[Path]) -> None:
    inside = box.run(lambda: {str(p): p.stat().st_ino for p in paths(trees[:1]) if p.is_file()})

    assert inside == {str(p): p.stat().st_ino for p in paths(trees[:1]) if p.is_file()}


def test_no_two_files_have_the_same_numbers_but_for_hard_links(
    box: Sandbox, trees: list[Path]
) -> None:
    def look() -> dict[str, tuple[int, int]]:
        change(trees)
        return numbers(trees)

    names = defaultdict(set)
    for path, pair in box.run(look).items():
        names[pair].add(path)

    shared = {frozenset(group) for group in names.values() if len(group) > 1}
    assert shared == {
        frozenset(str(tree / "names" / name) for name in ("first", "second")) for tree in trees
    }


def test_numbers_stay_when_files_and_directories_are_changed(
    box: Sandbox, trees: list[Path]
) -> None:
    def look() -> list[str]:
        before = numbers(trees)
        change(trees)
        after = numbers(trees)
        return [path for path, pair in before.items() if after[path] != pair]

    assert box.run(look) == []


def test_a_listing_gives_the_numbers_of_files_as_they_are(box: Sandbox, trees: list[Path]) -> None:
    def look() -> list[str]:
        directories = [path for path in paths(trees) if path.is_dir()]
        entries = [entry for path in directories for entry in os.scandir(path)]
        return [e.path for e in entries if e.is_file() and e.inode() != os.lstat(e.path).st_ino]

    assert box.run(look) == []


def test_a_database_that_others_have_open_is_the_same_file(
    identity: Identity, box: Sandbox, trees: list[Path]
) -> None:
    database = trees[0] / "directory/data.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("create table numbers (number)")
        connection.commit()
    identity.own(database)

    def use() -> list[tuple[int]]:
        with closing(sqlite3.connect(database)) as first, closing(sqlite3.connect(database)) as two:
            first.execute("insert into numbers values (7)")
            first.commit()
            return two.execute("select number from numbers").fetchall()

    assert box.run(use) == [(7,)]
