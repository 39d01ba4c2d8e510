"""What was written in a sandbox is found afterwards, whatever it was, and nothing else is."""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path
import select
import shutil
import socket
import tempfile
import time
from typing import TYPE_CHECKING
from typing import Final

import pytest

from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import MinimalRoot
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.spec import User
from pytest_isolate.sandbox.supervise import changeset
from pytest_isolate.sandbox.supervise import execution
from pytest_isolate.sandbox.supervise import leftovers
from pytest_isolate.sandbox.supervise.changeset import Change
from pytest_isolate.sandbox.supervise.changeset import Ignored
from pytest_isolate.sandbox.supervise.changeset import What

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from pytest_isolate.sandbox.pool import Pool

    Look = Callable[..., dict[str, Change]]

pytestmark = [pytest.mark.any_python, pytest.mark.needs("sandbox")]

ENTRY: Final = Entry(cwd="/")
REOPENING: Final = Entry(cwd="/", reopens=True)
NOTHING: Final = Ignored()
machine_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="an ordinary user's overlays do not follow renamed directories"
)

whole_directories = pytest.mark.skipif(
    os.geteuid() != 0 and tuple(map(int, os.uname().release.split(".")[:2])) < (6, 6),
    reason="an ordinary user removes no directory of the host: Linux 6.6 gave tmpfs the attributes",
)


@pytest.fixture
def look(pool: Pool) -> Look:
    """Return a function that does something in a sandbox and tells what was written, by path."""

    def look(
        main: Callable[[], object],
        spec: Spec | None = None,
        ignored: Ignored = NOTHING,
        entry: Entry = ENTRY,
        then: Callable[[], object] = lambda: None,
    ) -> dict[str, Change]:
        sandbox = pool.acquire(spec or Spec(surveyed=True))
        try:
            end = execution.run(sandbox, entry, lambda _: (main(), None)[1])
            assert end.outcome == Exited(0)
            then()
            assert sandbox.layers is not None
            sandbox.kill()
            dead = select.poll()
            dead.register(sandbox.init, select.POLLIN)
            assert dead.poll(10_000)
            return {change.path: change for change in changeset.survey(sandbox.layers, ignored)}
        finally:
            sandbox.retire()

    return look


@pytest.fixture
def home() -> Iterator[Path]:
    """Return a directory of the caller's on the host, copy on write in a sandbox."""
    place = Path(tempfile.mkdtemp(dir=Path.home()))
    place.chmod(0o755)
    (place / "full").mkdir()
    (place / "full" / "file").write_text("old", encoding="utf-8")
    for name in ("kept", "changed", "touched", "gone", "link_to"):
        (place / name).write_text("old", encoding="utf-8")
    (place / "link").symlink_to("link_to")
    yield place
    shutil.rmtree(place)


def told(found: dict[str, Change], top: Path) -> dict[str, tuple[What, str]]:
    return {
        os.path.relpath(path, top): (change.what, change.kind) for path, change in found.items()
    }


def below(top: Path, found: dict[str, Change]) -> dict[str, Change]:
    """Return what was found there: what this pytest prints may go to a file elsewhere."""
    return {path: change for path, change in found.items() if Path(path).is_relative_to(top)}


def test_nothing_written_is_nothing_found(look: Look) -> None:
    assert look(lambda: os.listdir("/")) == {}


def test_fresh_directories_have_what_is_new_and_not_what_the_sandbox_is_made_with(
    look: Look,
) -> None:
    def write() -> None:
        Path("/tmp/file").write_text("12345", encoding="utf-8")
        Path("/tmp/made/empty").mkdir(parents=True)
        Path("/dev/shm/shared").touch()
        os.symlink("/etc/passwd", "/tmp/link")
        os.mkfifo("/var/tmp/fifo")
        socket.socket(socket.AF_UNIX).bind("/tmp/socket")

    found = look(write)

    assert told(found, Path("/")) == {
        "tmp/file": (What.WRITTEN, "file"),
        "tmp/made/empty": (What.WRITTEN, "directory"),
        "dev/shm/shared": (What.WRITTEN, "file"),
        "tmp/link": (What.WRITTEN, "link"),
        "var/tmp/fifo": (What.WRITTEN, "fifo"),
        "tmp/socket": (What.WRITTEN, "socket"),
    }
    assert found["/tmp/file"].size == 5
    assert found["/tmp/link"].source == "/etc/passwd"


def test_changes_of_the_hosts_files_are_told_from_mere_copies(look: Look, home: Path) -> None:
    def write() -> None:
        (home / "kept").open("a").close()  # copied up, and the same
        (home / "kept").write_text("old", encoding="utf-8")
        os.utime(home / "kept", ns=(0, (before.st_mtime_ns)))
        (home / "changed").write_text("new", encoding="utf-8")
        os.utime(home / "changed", ns=(0, (before.st_mtime_ns)))
        (home / "touched").chmod(0o600)
        (home / "gone").unlink()
        (home / "new").write_text("new", encoding="utf-8")
        (home / "full" / "more").touch()

    before = (home / "kept").stat()
    os.utime(home / "changed", ns=(0, before.st_mtime_ns))

    assert told(look(write), home) == {
        "changed": (What.WRITTEN, "file"),
        "touched": (What.CHANGED, "file"),
        "gone": (What.DELETED, "file"),
        "new": (What.WRITTEN, "file"),
        "full/more": (What.WRITTEN, "file"),
    }


@whole_directories
def test_removed_and_replaced_directories(look: Look, home: Path) -> None:
    def write() -> None:
        shutil.rmtree(home / "full")
        (home / "full").mkdir()
        (home / "full" / "file").write_text("old", encoding="utf-8")

    assert told(look(write), home) == {
        "full": (What.REPLACED, "directory"),
        "full/file": (What.WRITTEN, "file"),
    }
    assert told(look(lambda: shutil.rmtree(home / "full")), home) == {
        "full": (What.DELETED, "directory")
    }


@machine_root
def test_moved_directory_names_where_it_was(look: Look, home: Path) -> None:
    def write() -> None:
        (home / "full").rename(home / "moved")
        (home / "moved" / "file").open("a").close()

    found = look(write)

    assert told(found, home) == {
        "full": (What.DELETED, "directory"),
        "moved": (What.MOVED, "directory"),
    }
    assert found[str(home / "moved")].source == str(home / "full")


def test_what_is_ignored_is_left_out_with_all_below(look: Look, home: Path) -> None:
    def write() -> None:
        for name in ("here", "__pycache__"):
            (home / name / "deep").mkdir(parents=True)
            (home / name / "deep" / "file").touch()
        (home / "a.pyc").touch()
        (home / "a.py").touch()

    ignored = Ignored(below=[str(home / "here")], directories={"__pycache__"}, suffixes=(".pyc",))

    assert told(look(write, ignored=ignored), home) == {"a.py": (What.WRITTEN, "file")}


def test_what_is_written_through_is_not_told(look: Look, home: Path) -> None:
    spec = Spec(surveyed=True, writable=(str(home),))

    assert look((home / "new").touch, spec) == {}
    assert (home / "new").exists()


@pytest.mark.parametrize("kind", ["minimal", "directory"])
def test_other_roots_are_surveyed_too(kind: str, look: Look, home: Path) -> None:
    (home / "full" / "etc").mkdir()
    root = MinimalRoot() if kind == "minimal" else DirectoryRoot(str(home / "full"))
    libraries = ("/lib", "/lib64", "/usr", os.path.dirname(os.__file__))

    def write() -> None:
        Path("/etc/new").touch()
        Path("/tmp/new").touch()

    found = look(write, Spec(surveyed=True, root=root, imports=libraries))

    assert told(found, Path("/")) == {
        "etc/new": (What.WRITTEN, "file"),
        "tmp/new": (What.WRITTEN, "file"),
    }


@pytest.mark.parametrize(
    "user", [User.KEEP, pytest.param(User.ROOT, marks=pytest.mark.needs("pivot_root"))]
)
def test_layers_are_out_of_reach_of_the_test(user: User, look: Look) -> None:
    """The descriptors that lead to them are covered in its process, and closed in init."""

    def find() -> None:
        time.sleep(0.1)
        for process in ("self", "1"):
            with suppress(PermissionError):
                for name in os.listdir(f"/proc/{process}/fd"):
                    with suppress(OSError):
                        assert not os.path.isdir(f"/proc/{process}/fd/{name}/0.upper")

    assert look(find, Spec(surveyed=True, user=user)) == {}


def test_sandbox_that_is_not_surveyed_has_no_layers(pool: Pool) -> None:
    sandbox = pool.acquire(Spec())
    try:
        assert sandbox.layers is None
    finally:
        sandbox.retire()


def test_no_descriptor_stays_open(look: Look) -> None:
    look(lambda: None)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        look(lambda: Path("/tmp/made/empty").mkdir(parents=True))

    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_processes_that_stay_are_named_and_those_that_go_are_not(pool: Pool) -> None:
    sandbox = pool.acquire(Spec())

    def main(_: object) -> None:
        known, unknown = os.pipe()  # closed by each exec: until then they are still this program
        for command in (["sleep", "1000"], ["sleep", "0.05"], ["true"]):
            if os.fork() == 0:
                os.setsid()
                os.execvp(command[0], command)  # noqa: S606  # no shell is wanted
        os.close(unknown)
        os.read(known, 1)

    try:
        execution.run(sandbox, ENTRY, main)
        assert [one.command for one in leftovers.staying(sandbox.init)] == ["sleep 1000"]
        sandbox.kill()
        assert leftovers.staying(sandbox.init) == ()
    finally:
        sandbox.retire()


def test_a_file_that_the_parent_goes_on_writing_to_is_not_the_tests(look: Look, home: Path) -> None:
    log = os.open(home / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(text: bytes) -> Callable[[], int]:
        return lambda: os.write(log, text)

    try:
        found = look(lambda: None, entry=REOPENING, then=write(b"and so on\n"))
        assert below(home, found) == {}
        found = look(write(b"inside"), entry=REOPENING, then=write(b"outside"))
        assert told(below(home, found), home) == {"log": (What.WRITTEN, "file")}
    finally:
        os.close(log)


def test_a_file_that_was_put_back_is_not_the_tests(look: Look) -> None:
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as place,
        open(f"{place}/log", "w", encoding="utf-8", buffering=1) as file,
    ):
        assert below(Path(place), look(lambda: None, entry=REOPENING)) == {}
        found = look(lambda: file.write("inside\n"), entry=REOPENING)
        assert below(Path(place), found).keys() == {file.name}
