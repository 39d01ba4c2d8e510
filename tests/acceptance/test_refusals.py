"""A kernel that refuses: one line with the reason and the fix, or a part of it on request."""

from __future__ import annotations

from dataclasses import replace
import errno
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
from typing import Final

import pytest

from pytest_isolate.sandbox.linux import capabilities
from pytest_isolate.sandbox.remedies import Signs
from pytest_isolate.sandbox.remedies import for_namespaces

REFUSE: Final = str(Path(__file__).parents[1] / "refuse.py")
#: What Docker's seccomp profile refuses without CAP_SYS_ADMIN.
DOCKER: Final = "unshare,clone:namespaces,setns,mount,umount2,pivot_root,sethostname"
SUITE: Final = Path(__file__).with_name("suites") / "refusals"


def pytest_under(
    errno: str, calls: str, place: Path, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run pytest in *place*, where the kernel answers *calls* with *errno*."""
    command = [sys.executable, REFUSE, errno, calls, "--", sys.executable, "-m", "pytest"]
    plugins = ["-p", "pytest_isolate.plugin", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, *plugins, "-rA", "--isolate", *arguments],
        cwd=place,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a directory with a suite of tests."""
    shutil.copytree(SUITE, tmp_path, dirs_exist_ok=True)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


@pytest.mark.usefixtures("footprint")
def test_plain_container_gives_a_part_of_isolation_on_request(place: Path) -> None:
    done = pytest_under("EPERM", DOCKER, place, "--isolate-unavailable=degrade")
    header = next(line for line in done.stdout.splitlines() if line.startswith("isolate: "))

    assert header.startswith("isolate: all tests; partial (no ")
    assert "; network host (no net); hostname kept (no hostname); unavailable degrade" in header
    # The kernel may have no Landlock at all, which the header says.
    protected = "; files not protected (no landlock)" not in header
    for line in (
        "PASSED test_x.py::test_pass",
        f"{'PASSED' if protected else 'FAILED'} test_x.py::test_write_outside",
        "FAILED test_x.py::test_fail - assert 1 == 2",
        "FAILED test_x.py::test_crash",
        "\nCrashed: killed by SIGSEGV\n",
        "FAILED test_x.py::test_exit",
        "\nExited: left with status 3 before its report\n",
        "FAILED test_x.py::test_slow",
        "\nTimed out: exceeded its limit of 1 s\n",
    ):
        assert line in done.stdout
    assert "some words" in done.stdout
    assert "last words" in done.stdout
    assert (place / "outside").exists() != protected
    # The one that failed for it says so, and no other.
    section = f"- Isolation -*\n{re.escape(str(place))}/outside: a partial sandbox refuses writing"
    assert len(re.findall(section, done.stdout)) == protected
    assert done.stdout.count("- Isolation -") == protected


@pytest.mark.usefixtures("footprint")
def test_plain_container_is_refused_with_its_rows_and_fix(place: Path) -> None:
    done = pytest_under("EPERM", DOCKER, place, "-k", "pass")

    assert "isolate: all tests; not to be had (fail): a sandbox's " in done.stdout
    assert "(EPERM)" in done.stdout
    assert "fix: " in done.stdout
    assert "ERROR test_x.py::test_pass" in done.stdout
    assert "\nIsolation failed: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 1


#: What is said where a call is refused, to the machine's root and to anybody else; `None` is that
#: nothing is amiss, for the call is not needed or has a substitute.
_KEEPER: Final = "start the keeper of the sandboxes: "
LINES: Final[dict[str, tuple[str | None, str | None]]] = {
    "unshare": ("a sandbox's userns: unshare", "a sandbox's userns: make user and mount namespace"),
    "clone:namespaces": ("a sandbox's userns: make namespaces", None),
    "setns": ("a sandbox's userns: setns", "a sandbox's userns: enter namespaces"),
    "mount": ("a sandbox's mnt: mount flags on /",) * 2,
    "umount2": ("a sandbox's pivot_root: umount2 .",) * 2,
    "openat2": (
        "a sandbox's overlay: mount overlay on / over /: openat2",
        "a sandbox's userns: make directory / (mode 0555): openat2",
    ),
    "capset": ("a sandbox's userns: capset",) * 2,
    "prctl": (f"{_KEEPER}the keeper of the sandboxes is gone: prctl 36",) * 2,
    "pidfd_open": (f"{_KEEPER}pidfd_open",) * 2,
    "pidfd_send_signal": (f"{_KEEPER}pidfd_send_signal",) * 2,
    "memfd_create": (f"{_KEEPER}memfd_create",) * 2,
    "clone3": (f"{_KEEPER}posix_spawn",) * 2,
    "pivot_root": (None, None),
    "chroot": (None, None),
    "sethostname": (None, None),
    "mount_setattr": (None, None),
    "open_tree": (None, None),
    "move_mount": (None, None),
    "fsopen": (None, None),
    "fsconfig": (None, None),
    "fsmount": (None, None),
    "keyctl": (None, None),
    "landlock_create_ruleset": (None, None),
    "landlock_restrict_self": (None, None),
}
#: All of them take minutes: a quick part here, the whole with the other tests in the laboratory.
IN_LAB: Final = "ISOLATE_TEST_LAB" in os.environ
ERRNOS: Final = ("EPERM", "ENOSYS", "EACCES") if IN_LAB else ("EPERM",)
QUICK: Final = ("unshare", "setns", "prctl", "pidfd_open", "mount_setattr")
CALLS: Final = tuple(LINES) if IN_LAB else QUICK


@pytest.mark.needs("sandbox")
@pytest.mark.parametrize("name", ERRNOS)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.usefixtures("footprint")
def test_each_call_that_is_refused_is_done_without_or_named(
    call: str, name: str, place: Path
) -> None:
    code = getattr(errno, name)
    expected = LINES[call][0 if capabilities.is_machine_root() else 1]
    if (call, name) == ("clone3", "ENOSYS"):
        expected = None  # that is the answer upon which the C library does without
    done = pytest_under(name, call, place, "-k", "pass")
    failures = [line for line in done.stdout.splitlines() if line.startswith("Isolation failed")]

    assert "Traceback" not in done.stdout + done.stderr
    if expected is None:
        assert failures == []
        assert done.returncode == 0
    else:
        line = f"Isolation failed: {expected}: {os.strerror(code)}"
        fix = for_namespaces(code, replace(Signs.read(), filtered=True))
        assert len(failures) == 1
        assert failures[0].startswith(line)
        assert fix in done.stdout
        assert done.returncode == 1
