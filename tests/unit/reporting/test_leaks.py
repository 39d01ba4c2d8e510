"""What a test has left behind is told in a line of counts and a line for each."""

from __future__ import annotations

from typing import Final

import pytest

from pytest_isolate.reporting.leaks import MOST
from pytest_isolate.reporting.leaks import Left
from pytest_isolate.reporting.leaks import tell
from pytest_isolate.sandbox.supervise.changeset import Change
from pytest_isolate.sandbox.supervise.changeset import What
from pytest_isolate.sandbox.supervise.snapshot import ProcessInfo

SLEEP: Final = ProcessInfo(pid=3, outer=300, command="sleep 9", is_main=False, rss=0)


def test_counts_leave_out_what_there_is_none_of() -> None:
    written = [Change(path=f"/{n}", what=What.WRITTEN, size=1024) for n in range(2)]

    assert Left(changes=written).summary() == "2 paths written (2.0 KiB)"
    assert Left(processes=[SLEEP], threads=["a", "b"]).summary() == "1 process, 2 threads"
    assert (
        Left(
            changes=[
                Change(path="/a", what=What.DELETED),
                Change(path="/b", what=What.CHANGED),
                Change(path="/c", what=What.MOVED, source="/a"),
            ]
        ).summary()
        == "2 paths changed, 1 path deleted"
    )
    assert not Left()


def test_lines_are_processes_threads_and_files() -> None:
    left = Left(
        processes=[SLEEP],
        threads=["napper (daemon)"],
        changes=[Change(path="/x", what=What.WRITTEN, size=5)],
    )

    assert left.lines() == ["process 3: sleep 9", "thread napper (daemon)", "wrote /x (5 B)"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (Change(path="/x", what=What.WRITTEN, kind="link", source="/y"), "linked /x -> /y"),
        (Change(path="/x", what=What.WRITTEN, kind="fifo"), "made fifo /x"),
        (Change(path="/x", what=What.CHANGED), "changed mode, owner or times of /x"),
        (Change(path="/x", what=What.MOVED, kind="directory", source="/y"), "moved /y to /x"),
        (Change(path="/x", what=What.REPLACED, kind="directory"), "replaced directory /x"),
        (Change(path="/x", what=What.DELETED), "deleted /x"),
    ],
)
def test_each_change_has_its_words(change: Change, line: str) -> None:
    assert list(tell([change])) == [line]


def test_too_many_are_counted() -> None:
    changes = [Change(path=f"/{n}", what=What.WRITTEN) for n in range(MOST + 7)]

    assert len(Left(changes=changes).lines()) == MOST + 1
    assert Left(changes=changes).lines()[-1] == "and 7 more"
