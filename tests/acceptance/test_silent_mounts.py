"""A mount that does not answer is named and left out; nothing waits for it without an end."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
import tempfile
import textwrap
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_SILENCE: Final = os.fspath(Path(__file__).parent.parent / "silence.py")
_PATIENCE_SECONDS: Final = 300.0

pytestmark = [pytest.mark.needs("sandbox", "pivot_root"), pytest.mark.any_python]


def _may_have_it() -> bool:
    return os.access("/dev/fuse", os.R_OK | os.W_OK)


@pytest.fixture(params=["root", "own users"])
def users(request: pytest.FixtureRequest) -> str:
    """Return an option of `silence`: who mounts it is the machine's root, or of its own users."""
    if not _may_have_it():
        is_machines = os.geteuid() == 0 and "CI" in os.environ
        (pytest.fail if is_machines else pytest.skip)("/dev/fuse is not to be opened by this user")
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("an ordinary user has users of its own only")
    return "--own-users" if request.param == "own users" else ""


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a directory to mount on that a sandbox has nothing of its own over."""
    base = "/srv" if os.access("/srv", os.W_OK) else os.path.expanduser("~")
    with tempfile.TemporaryDirectory(prefix="silence-", dir=base) as name:
        yield Path(name)


def run(
    options: list[str], place: Path, *command: str, cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Run Python with *command*, where what is mounted on *place* answers as *options* say."""
    words = [sys.executable, _SILENCE, *filter(None, options), os.fspath(place), "--"]
    return subprocess.run(
        [*words, sys.executable, *command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE_SECONDS,
    )


def run_tests(
    options: list[str], place: Path, cwd: Path, source: str, *arguments: str
) -> tuple[int, str]:
    cwd.joinpath("test_it.py").write_text(textwrap.dedent(source), encoding="utf-8")
    cwd.joinpath("pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = ["-m", "pytest", "-p", "no:cacheprovider", "--isolate", *arguments]
    done = run(options, place, *command, cwd=cwd)
    return done.returncode, done.stdout + done.stderr


def test_mount_is_named_and_an_empty_directory_inside(
    users: str, place: Path, tmp_path: Path
) -> None:
    source = f"""
        import os
        def test_place(): assert os.listdir({os.fspath(place)!r}) == []
        def test_beside(): assert {place.name!r} in os.listdir({os.fspath(place.parent)!r})
    """
    status, output = run_tests([users], place, tmp_path, source)

    assert status == 0, output
    assert f"left out, for it does not answer: {place} (fuse.silence)" in output
    assert f"umount -l {place}" in output


def test_mount_among_the_tests_is_not_collected_from(users: str, tmp_path: Path) -> None:
    place = tmp_path / "mounted"
    place.mkdir()
    source = f"""
        import os
        def test_place(): assert os.listdir({os.fspath(place)!r}) == []
    """
    status, output = run_tests([users], place, tmp_path, source, os.fspath(tmp_path))

    assert status == 0, output
    assert f"left out, for it does not answer: {place}" in output


def test_mount_that_answers_is_not_left_out(users: str, place: Path, tmp_path: Path) -> None:
    source = f"""
        import os
        def test_place(): assert os.statvfs({os.fspath(place)!r}).f_namemax == 255
    """
    status, output = run_tests([users, "--until=hush"], place, tmp_path, source)

    assert status == 0, output
    assert "left out" not in output


@pytest.mark.parametrize("setting", ["writable", "rootfs"])
def test_what_is_needed_of_it_is_an_error_of_one_line(
    setting: str, users: str, place: Path, tmp_path: Path
) -> None:
    option = f"--isolate-{setting}={place}/x"
    status, output = run_tests([users], place, tmp_path, "def test(): pass", option)

    assert status == pytest.ExitCode.USAGE_ERROR, output
    assert f"{place}/x: {place} (fuse.silence) does not answer; " in output
    assert "Traceback" not in output


def test_doctor_names_it(users: str, place: Path, tmp_path: Path) -> None:
    done = run([users], place, "-m", "pytest_isolate", "doctor", cwd=tmp_path)

    assert f"mounts      partial  left out, for it does not answer: {place}" in done.stdout
    assert f"fix: see to who serves it, or take it off: umount -l {place}" in done.stdout


def test_command_runs_without_it(users: str, place: Path, tmp_path: Path) -> None:
    command = ["-m", "pytest_isolate", "run", "--", "ls", "-A", os.fspath(place)]
    done = run([users], place, *command, cwd=tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# It is what waits that is tried: a minute or two of limits, one after the other.
@pytest.mark.timeout(_PATIENCE_SECONDS)
def test_run_ends_when_a_mount_falls_silent_in_a_test(
    users: str, place: Path, tmp_path: Path
) -> None:
    source = f"""
        import os
        import pytest

        @pytest.mark.isolated(timeout=2)
        def test_falls_silent(): os.stat("{place}/hush")
        def test_is_ready(): pass
        def test_is_ready_too(): pass
        def test_has_to_wait(): pass
        def test_goes_on_without_it(): assert os.listdir({os.fspath(place)!r}) == []
    """
    status, output = run_tests([users, "--until=hush"], place, tmp_path, source, "-rA")

    assert status == pytest.ExitCode.TESTS_FAILED, output
    assert "Isolation failed: kill sandbox: it did not die within 20 s (process " in output
    assert "uninterruptible sleep" in output
    # How many have a sandbox by then is the machine's; the last has one of a new keeper.
    assert output.count("PASSED test_it.py::test_") >= 2
    assert "PASSED test_it.py::test_goes_on_without_it\n" in output
    assert "of the sandboxes did not answer within" in output or "not made within" in output


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_keeper_that_is_stopped_or_killed_is_an_error_and_no_hang(
    number: signal.Signals, tmp_path: Path
) -> None:
    tmp_path.joinpath("conftest.py").write_text(
        textwrap.dedent(f"""
        import os, pathlib, pytest

        @pytest.hookimpl(trylast=True)
        def pytest_runtest_logstart(nodeid):
            if nodeid.endswith("test_meets_it"):
                task = pathlib.Path("/proc/self/task", str(os.getpid()), "children")
                for pid in task.read_text().split():
                    command = pathlib.Path("/proc", pid, "cmdline").read_bytes()
                    if b"pytest_isolate.sandbox.keeper.service" in command:
                        os.kill(int(pid), {int(number)})
        """),
        encoding="utf-8",
    )
    tmp_path.joinpath("test_it.py").write_text(
        textwrap.dedent("""
        import pytest
        def test_before(): pass
        def test_meets_it(): pass
        @pytest.mark.parametrize("number", range(5))  # some have a sandbox of the old one's
        def test_after(number): pass
        """),
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--isolate", "-rA"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE_SECONDS,
    )

    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert "the keeper of the sandboxes " in done.stdout
    assert "PASSED test_it.py::test_before\n" in done.stdout
    assert "PASSED test_it.py::test_after[4]\n" in done.stdout
