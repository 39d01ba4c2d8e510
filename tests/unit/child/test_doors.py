"""What is said of descriptors that a test does not have as its parent has them."""

from __future__ import annotations

import pytest

from pytest_isolate.child.doors import Doors
from pytest_isolate.child.doors import line
from pytest_isolate.sandbox.launch.descriptors import Covered
from pytest_isolate.sandbox.launch.descriptors import Kind

FILE = Covered(fd=7, kind=Kind.FILE, path="/data/big", why="90 MiB are too much to copy")
SOCKET = Covered(fd=8, kind=Kind.SOCKET)
COPY = Covered(fd=9, kind=Kind.COPY, path="/tmp/db", why="it was moved", readable=True)


@pytest.mark.parametrize(
    ("covered", "words"),
    [
        (FILE, "/data/big (descriptor 7): /dev/null in this test, for 90 MiB are too much"),
        (SOCKET, "a socket (8): /dev/null in this test, for it leads out of the sandbox."),
        (COPY, "/tmp/db (descriptor 9): a copy in this test, for it was moved."),
    ],
)
def test_a_line_tells_what_it_was_what_it_is_and_why(covered: Covered, words: str) -> None:
    assert line(covered).startswith(words)
    assert line(covered).endswith("Open it in the test, or in a fixture.")


def test_a_file_that_can_only_be_read_is_not_called_covered() -> None:
    covered = Covered(fd=7, kind=Kind.FILE, path="/data/big", why="it is large", readable=True)

    assert "open for reading only in this test" in line(covered)


@pytest.mark.parametrize(
    ("covered", "text", "told"),
    [
        (FILE, "assert 0", True),
        (SOCKET, "assert 0", False),
        (SOCKET, "OSError: [Errno 88] Socket operation on non-socket", True),
        (COPY, "assert 0", False),
        (COPY, "OperationalError: attempt to write a readonly database", True),
        (Covered(fd=1, kind=Kind.PIPE), "BrokenPipeError", False),
        (Covered(fd=1, kind=Kind.OWN), "assert 0", False),
    ],
)
def test_only_what_may_be_behind_a_failure_is_told(
    covered: Covered, text: str, *, told: bool
) -> None:
    assert bool(list(Doors([covered]).lines(text))) == told


def test_what_is_never_told_needs_no_plugin() -> None:
    assert not Doors([Covered(fd=1, kind=Kind.PIPE), Covered(fd=2, kind=Kind.OWN)])
    assert Doors([FILE])


def test_many_are_cut() -> None:
    lines = list(Doors([FILE] * 30).lines("assert 0"))

    assert lines[-1] == "and 10 more"
    assert len(lines) == 21
