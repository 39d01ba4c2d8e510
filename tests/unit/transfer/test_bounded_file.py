"""A file that grows without end keeps its head, its tail and its size, and takes little room."""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING
from typing import Final

import pytest

from pytest_isolate.transfer import bounded_file

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB: Final = 1024 * 1024
KEPT: Final = 16 * MIB


@pytest.fixture(params=["/dev/shm", tempfile.gettempdir()])
def fd(request: pytest.FixtureRequest) -> Iterator[int]:
    with tempfile.TemporaryFile(buffering=0, dir=request.param) as file:
        yield file.fileno()


def fill(fd: int, mib: int) -> None:
    for number in range(mib):
        os.write(fd, (b"%07d\n" % number) * (MIB // 8))


def test_small_file_is_whole(fd: int) -> None:
    os.write(fd, "snow ☃\n".encode())

    assert bounded_file.fits(fd, KEPT)
    assert not bounded_file.trim(fd, KEPT)
    assert bounded_file.read(fd, KEPT, "strict") == "snow ☃\n"


def test_file_of_the_limit_is_whole(fd: int) -> None:
    fill(fd, KEPT // MIB)

    assert len(bounded_file.read(fd, KEPT, "strict")) == KEPT


def test_large_file_has_head_and_tail_and_says_what_was_cut(fd: int) -> None:
    fill(fd, 20)

    text = bounded_file.read(fd, KEPT, "strict")

    head, _, rest = text.partition("\n[... ")
    cut, _, tail = rest.partition(" ...]\n")
    assert cut == f"{4 * MIB:,} bytes cut"
    assert len(head) == len(tail) == KEPT // 2
    assert head.startswith("0000000\n")
    assert tail.endswith("0000019\n")


def test_trimmed_file_takes_little_and_is_read_the_same(fd: int) -> None:
    fill(fd, 100)
    before = bounded_file.read(fd, KEPT, "strict")

    assert bounded_file.trim(fd, KEPT)

    status = os.fstat(fd)
    assert status.st_size == 100 * MIB
    assert status.st_blocks * 512 <= 40 * MIB
    assert bounded_file.read(fd, KEPT, "strict") == before
    assert not bounded_file.trim(fd, KEPT)


def test_writer_goes_on_where_it_was(fd: int) -> None:
    fill(fd, 100)
    bounded_file.trim(fd, KEPT)
    os.write(fd, b"the end")

    assert bounded_file.read(fd, KEPT, "strict").endswith("0000099\nthe end")


def test_without_holes_the_head_stays_and_what_follows(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError

    monkeypatch.setattr("pytest_isolate.sandbox.linux.files.punch_hole", refuse)
    fill(fd, 100)

    assert bounded_file.trim(fd, KEPT)
    os.write(fd, b"the end")

    text = bounded_file.read(fd, KEPT, "strict")
    assert text.startswith("0000000\n")
    assert text.endswith(" bytes cut ...]\nthe end")
    assert os.fstat(fd).st_blocks * 512 <= 40 * MIB


def test_emptied_file_begins_anew(fd: int) -> None:
    fill(fd, 1)
    bounded_file.empty(fd)
    os.write(fd, b"new")

    assert bounded_file.read(fd, KEPT, "strict") == "new"


def test_cut_in_a_character_is_text_all_the_same() -> None:
    snow = "☃".encode()

    assert bounded_file.cut(snow[:2], snow[1:], 1000, "strict").startswith(
        "�\n[... 1,000 bytes cut"
    )
