"""A test that runs out of memory for files is told which, why they are there, and what helps."""

from __future__ import annotations

from contextlib import closing
import os
import sqlite3
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Run
    from tests.acceptance.conftest import Suite

MIB: Final = 1 << 20
SIZE: Final = 100 * MIB
COPIED: Final = {
    "test_chmod": "large",
    "test_rename": "large",
    "test_append": "large",
    "test_beside": "large",
    "test_below": "large",
    "test_open": "large",
    "test_program": "large",
    "test_thread": "large",
    "test_sqlite": "large.sqlite",
}
TITLE: Final = "Largest files in memory"

pytestmark = [pytest.mark.any_python, pytest.mark.needs("memory")]


@pytest.fixture(scope="module")
def directory(module_suite: Suite) -> Path:
    """Return a directory with tests, and files of which some are too large for them."""
    directory = module_suite.directory
    module_suite.copy("large_files")
    for name, size in ("large", SIZE), ("middling", 15 * MIB):
        (directory / name).write_bytes(bytes(size))
    with closing(sqlite3.connect(directory / "large.sqlite")) as database:
        database.execute("create table numbers (number)")
        database.execute("insert into numbers values (zeroblob(?))", (SIZE,))
        database.commit()
    for name in ("large", "large.sqlite"):
        forget(directory / name)
    return directory


def forget(path: Path) -> None:
    """Let the kernel drop *path* from its page cache: who reads it next is charged for that."""
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


@pytest.fixture(scope="module")
def run(module_suite: Suite, directory: Path) -> Run:
    """Return a run of all of them."""
    assert directory.is_dir()
    return module_suite.run("-p", "no:cacheprovider")


def sections(run: Run, name: str) -> dict[str, str]:
    """Return the sections of the report that says the line."""
    dead = [one for one in run.reports(name).values() if one["text"].startswith("OOM killed")]
    assert dead, run.output
    return dict(dead[0]["sections"])


def until_named(name: str, run: Run, suite: Suite) -> dict[str, str]:
    """Return the sections of the report of *name*, the first that names a file that is gone.

    A machine that is busy enough keeps pytest from looking until the copy is over.
    """
    for _ in range(6):
        dead = [one for one in run.reports(name).values() if one["text"].startswith("OOM killed")]
        if dead and "being copied" in dict(dead[0]["sections"]).get(TITLE, ""):
            break
        run = suite.run("-p", "no:cacheprovider", "-k", name)
    return sections(run, name)


@pytest.mark.parametrize("name", COPIED)
def test_file_of_the_host_that_did_not_fit_is_named(
    name: str, run: Run, module_suite: Suite
) -> None:
    if not os.path.exists("/proc/self/syscall"):
        reason = "this kernel does not tell system calls (User-Mode Linux)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)

    found = until_named(name, run, module_suite)

    first, *rest = found[TITLE].splitlines()
    size, _, told = first.partition("  ")
    assert told == f"{module_suite.directory}/{COPIED[name]}  <- of the host, and was being copied"
    assert float(size.removesuffix(" MiB")) >= SIZE / MIB
    assert "a file of the host's is copied there as a whole" in rest[-3]
    assert "`memory`, or `writable` with its directory" in rest[-1]
    assert "tmpfs and shared memory: " in found["Memory by kind"]


def test_files_that_were_written_are_told_from_copies(run: Run, directory: Path) -> None:
    lines = sections(run, "test_two")[TITLE].splitlines()[:-3]

    assert lines[0] == f"15.0 MiB  {directory}/middling  <- copy of the host's"
    assert f"10.0 MiB  {directory}/new0" in lines[1:]
    assert len(lines) <= 5


def test_file_of_a_fresh_directory_is_named(run: Run) -> None:
    line = sections(run, "test_tmp")[TITLE].splitlines()[0]

    size, _, path = line.partition("  ")
    assert path == "/tmp/new"
    assert float(size.removesuffix(" MiB")) > 40


def test_nothing_is_said_of_files_where_there_are_none(run: Run) -> None:
    assert TITLE not in sections(run, "test_no_file")


def test_file_that_fits_is_changed(run: Run) -> None:
    assert set(run.outcomes("test_within").values()) == {"passed"}


@pytest.mark.usefixtures("footprint")
def test_files_and_the_look_at_them_leave_nothing(suite: Suite) -> None:
    suite.copy("large_files")
    for name in ("large", "middling"):
        (suite.directory / name).write_bytes(bytes(SIZE))
    before = {path.name: path.stat().st_mode for path in suite.directory.iterdir()}
    descriptors = """
        import os, pytest
        seen = []
        @pytest.hookimpl(trylast=True)
        def pytest_runtest_logfinish(): seen.append(len(os.listdir("/proc/self/fd")))
        def pytest_terminal_summary(terminalreporter):
            terminalreporter.write_line(f"grown by {max(seen) - seen[0]}")
    """
    suite.write({"conftest.py": descriptors})

    selected = "chmod or rename or two or tmp"
    done = suite.run("-p", "no:cacheprovider", "--isolate", "-k", selected)

    # Most of them are: a busy machine may be late for a copy.
    assert done.output.count("OOM killed: exceeded") >= 2
    assert int(done.output.rpartition("grown by ")[2].split()[0]) <= 2, done.output
    (suite.directory / "conftest.py").unlink()
    after = {path.name: path.stat().st_mode for path in suite.directory.iterdir()}
    assert {name: after[name] for name in before} == before
    assert (suite.directory / "large").stat().st_size == SIZE
