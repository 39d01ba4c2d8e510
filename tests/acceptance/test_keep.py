"""`--isolate-keep` keeps what a test wrote, where its report says."""

from __future__ import annotations

import os
from pathlib import Path
import re
import stat
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Run
    from tests.acceptance.conftest import Suite
    from tests.conftest import Footprint

TESTS: Final = """
    import os, pytest, signal, socket, time
    from pathlib import Path
    HERE = Path(__file__).parent

    def write():
        Path("/tmp/deep").mkdir(); Path("/tmp/deep/file").write_text("kept")
        os.chmod("/tmp/deep/file", 0o4711); os.utime("/tmp/deep/file", (7, 7))
        (HERE / "data").write_text("changed"); (HERE / "old").unlink()
        os.mkfifo("/tmp/fifo"); socket.socket(socket.AF_UNIX).bind("/tmp/socket")
        os.symlink("/etc/passwd", "/tmp/link"); os.symlink("loop", "/tmp/loop")
        with open("/tmp/sparse", "wb") as file: file.truncate(10 << 30)
        Path("/tmp/unreadable").touch(0)
    def test_passes(): write()
    def test_fails(tmp_path): (tmp_path / "own").touch(); write(); assert 0
    def test_dies(): write(); os.kill(os.getpid(), signal.SIGKILL)
    @pytest.fixture
    def broken(): yield; assert 0
    @pytest.mark.parametrize("x", ["a/b"])
    def test_teardown(broken, x): write()
    def test_writes_nothing(): assert 0
"""
SECTION: Final = "Kept files after teardown"


@pytest.fixture
def writing(suite: Suite) -> Suite:
    suite.write({"keep": TESTS})
    for name in ("data", "old"):
        (suite.directory / name).touch()
    return suite


def kept(suite: Suite) -> set[str]:
    """Return the names of the directories of tests that are in the suite's directory `kept`."""
    return {
        os.path.basename(top)
        for top, _, files in os.walk(suite.directory / "kept")
        if "changes.txt" in files
    }


def section(run: Run, name: str) -> list[str]:
    return str(dict(run.reports(name)["teardown"]["sections"])[SECTION]).splitlines()


@pytest.mark.needs("sandbox")
def test_files_of_failed_tests_are_kept_as_they_were(writing: Suite, footprint: Footprint) -> None:
    run = writing.run("--isolate", "--isolate-keep=failed", "--isolate-keep-dir=kept")

    names = kept(writing)
    teardown = next(name for name in names if name.startswith("test_teardown"))
    assert names == {"test_fails", "test_dies", teardown, "test_writes_nothing"}
    for name in ("test_fails", "test_dies", teardown):
        place = writing.directory / "kept" / "test_keep.py" / name
        file = place / "files" / "tmp" / "deep" / "file"
        assert file.read_text("utf-8") == "kept"
        status = file.stat()
        assert stat.S_IMODE(status.st_mode) == 0o711
        assert (status.st_mtime, status.st_uid) == (7, os.geteuid())
        data = Path(f"{place}/files{writing.directory}/data")
        assert data.read_text("utf-8") == "changed"
        copied = {os.path.join(top, one) for top, _, files in os.walk(place) for one in files}
        extra = copied - {str(file), str(data), str(place / "changes.txt")}
        # Of root it is the caller's own file, whatever its mode.
        assert extra == ({f"{place}/files/tmp/unreadable"} if os.geteuid() == 0 else set())
    changes = (
        (writing.directory / "kept" / "test_keep.py" / "test_dies" / "changes.txt")
        .read_text("utf-8")
        .splitlines()
    )
    assert {
        f"deleted {writing.directory}/old",
        f"wrote {writing.directory}/data (7 B)",
        "left out /tmp/sparse: its 10.0 GiB are more than 256.0 MiB",
        "linked /tmp/link -> /etc/passwd",
        "made fifo /tmp/fifo",
        "made socket /tmp/socket",
    } <= set(changes)
    assert section(run, "test_dies")[0].startswith(f"{writing.directory}/kept/test_keep.py/test_d")
    assert f"- {SECTION} -" in run.output
    assert (writing.directory / "data").read_text("utf-8") == ""
    assert footprint.left() == []


@pytest.mark.needs("sandbox")
def test_files_of_all_tests_are_kept(writing: Suite) -> None:
    run = writing.run(
        "--isolate", "--isolate-keep=all", f"--isolate-keep-dir={writing.directory}/kept"
    )

    assert {"test_passes", "test_fails"} < kept(writing)
    assert re.search(r"/test_passes: \d files \(", section(run, "test_passes")[0])


def test_nothing_is_kept_unasked(writing: Suite) -> None:
    run = writing.run("--isolate", "--isolate-keep-dir=kept")

    assert not (writing.directory / "kept").exists()
    assert SECTION not in run.output


@pytest.mark.needs("sandbox")
def test_next_run_replaces_what_was_kept(writing: Suite) -> None:
    arguments = ("--isolate", "--isolate-keep=failed", "--isolate-keep-dir=kept", "-k", "fails")
    writing.run(*arguments)
    place = writing.directory / "kept" / "test_keep.py" / "test_fails"
    (place / "files" / "stale").touch()

    writing.run(*arguments)

    assert (place / "changes.txt").exists()
    assert not (place / "files" / "stale").exists()


@pytest.mark.needs("sandbox")
def test_without_a_directory_the_last_three_runs_are_kept(writing: Suite) -> None:
    temporary = writing.directory.parent / "temporary"
    temporary.mkdir()
    runs = [
        writing.run("--isolate", "-o", "isolate_keep=failed", "-k", "fails", TMPDIR=str(temporary))
        for _ in range(4)
    ]

    (top,) = temporary.glob("isolate-kept-of-*")
    assert stat.S_IMODE(top.stat().st_mode) == 0o700
    assert len(list(top.iterdir())) == 3
    places = [section(run, "test_fails")[0].partition(": ")[0] for run in runs]
    assert [os.path.isdir(place) for place in places] == [False, True, True, True]


@pytest.mark.needs("sandbox")
def test_directory_that_cannot_be_written_to_is_told(writing: Suite) -> None:
    (writing.directory / "file").touch()

    run = writing.run(
        "--isolate", "--isolate-keep=failed", "--isolate-keep-dir=file/kept", "-k", "fails"
    )

    (line,) = section(run, "test_fails")
    assert line.startswith("not kept: ")
    assert run.outcomes("test_fails")["call"] == "failed"
