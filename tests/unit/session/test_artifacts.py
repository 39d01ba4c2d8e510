"""Where the files of a test are kept, and of how many runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_isolate.sandbox.supervise.changeset import Change
from pytest_isolate.sandbox.supervise.changeset import What
from pytest_isolate.session import artifacts
from pytest_isolate.session.artifacts import Kept


@pytest.mark.parametrize(
    ("nodeid", "place"),
    [
        ("tests/test_x.py::test_a", "tests/test_x.py/test_a"),
        ("test_x.py::TestIt::test_a[1-b]", "test_x.py/TestIt/test_a[1-b]"),
        ("test_x.py", "test_x.py"),
    ],
)
def test_place_is_the_node_id_as_a_path(nodeid: str, place: str) -> None:
    assert artifacts.place_of(nodeid) == place


@pytest.mark.parametrize(
    "nodeid",
    [
        "test_x.py::test_a[../../etc]",
        "test_x.py::test_a[a::b/c]",
        "../test_x.py::test_a",
        "test_x.py::test_a[\0]",
        "test_x.py::test_a[" + "x" * 500 + "]",
        "test_x.py::..",
        "test_x.py::test_a[\udc80 ☃]",
    ],
)
def test_place_stays_below_and_is_a_name_everywhere(nodeid: str) -> None:
    parts = artifacts.place_of(nodeid).split("/")

    assert len(parts) in {2, 3}
    assert all(part.isascii() and part.isprintable() and len(part) <= 110 for part in parts)
    assert not {"", ".", ".."} & set(parts)


def test_places_of_different_tests_differ() -> None:
    ids = [f"test_x.py::test_a[{end}]" for end in ("a b", "a/b", "a_b", "x" * 200, "x" * 201)]

    assert len({artifacts.place_of(nodeid) for nodeid in ids}) == len(ids)


def test_last_runs_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        directory = artifacts.run_directory(tmp_path / "kept", f"run-{number}")
        os.utime(directory, (number, number))
    assert artifacts.run_directory(tmp_path / "kept", "run-4").is_dir()

    assert sorted(os.listdir(tmp_path / "kept")) == ["run-2", "run-3", "run-4"]


def test_directory_that_is_a_link_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "kept").symlink_to("elsewhere")

    with pytest.raises(PermissionError, match="not a directory of this user's"):
        artifacts.run_directory(tmp_path / "kept", "run-1")


def test_text_has_what_was_left_out_first_and_counts_the_rest() -> None:
    changes = [Change(path=f"/{n}", what=What.DELETED) for n in range(60)]
    kept = Kept(place=Path("/kept"), files=1, size=5, left_out=["left out /x: too large"])

    lines = kept.text(changes).splitlines()

    assert lines[:3] == ["/kept: 1 file (5 B)", "left out /x: too large", "deleted /0"]
    assert lines[-1] == "and 11 more in changes.txt"
