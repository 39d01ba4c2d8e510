"""What tests of every kind share: pytester, and an eye on what they leave behind."""

from __future__ import annotations

from contextlib import suppress
import fcntl
from functools import cache
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
import uuid

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

pytest_plugins = ["pytester"]

_PATIENCE_SECONDS: Final = 20.0
#: For each pytest that a test starts.
_OPTIONS: Final = "-p no:hypothesispytest"
#: What is in the names of files that we or our misbehaving tests would leave.
_WORDS: Final = ("isolate", "left behind")
#: Where a sandboxed test may write and must leave nothing.
_PLACES: Final = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/etc", os.path.expanduser("~"))
_CGROUPS: Final = "/sys/fs/cgroup"
#: How the groups are called in which one pytest of these tests makes its own: `tests.PID`.
_OWN: Final = "tests."
#: What is capped, by the names of the hierarchies of cgroup v1.
_CONTROLLERS: Final = frozenset({"memory", "pids", "cpu"})


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs(*names): capabilities that the test cannot do without"
    )
    config.addinivalue_line(
        "markers", "any_python: the kernel decides, not the interpreter: see tox.ini"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            _require(name)


@pytest.fixture(scope="session")
def require() -> Callable[[str], None]:
    """Skip the test if a capability cannot be had here; in CI that is a failure."""
    return _require


def _require(name: str) -> None:
    row = _found()[name]
    # A root that covers the old one, instead of having changed it, gives no test root's powers.
    if row["state"] == "no" or (name, row["state"]) == ("pivot_root", "partial"):
        reason = f"needs {name}: {row['why'] or row['lacks']}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


@cache
def _found() -> dict[str, dict[str, Any]]:
    """Return the doctor's rows by name."""
    command = [sys.executable, "-m", "pytest_isolate", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    return {row["name"]: row for row in json.loads(done.stdout)["capabilities"]}


class Footprint:
    """The machine as it was: mounts, run directories of cgroups, files, and later processes."""

    def __init__(self) -> None:
        self.token = uuid.uuid4().hex
        self._mounts = _mounts()
        self._groups = _abandoned_groups()
        self._files = _files()

    @property
    def environment(self) -> dict[str, str]:
        """An environment whose processes are found again."""
        return {**os.environ, "ISOLATE_TEST_TOKEN": self.token}

    def left(self) -> list[str]:
        """Return what is there now and was not; what is going is waited for."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while (found := self._found()) and time.monotonic() < end:
            time.sleep(0.02)
        return found

    def _found(self) -> list[str]:
        return [
            *(f"mount {line}" for line in _mounts() ^ self._mounts),
            *(f"cgroup {path}" for path in _abandoned_groups() - self._groups),
            *(f"file {path}" for path in _files() - self._files),
            *(f"process {line}" for line in _processes(self.token)),
        ]


@pytest.fixture(autouse=True, scope="session")
def _signals() -> None:
    """Let what tests start hear Ctrl-C and a terminal's end.

    A shell's background jobs ignore the keys that end them, nohup's the terminal's end, and so does
    all that they start.
    """
    for number, usual in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGQUIT, signal.SIG_DFL),
        (signal.SIGHUP, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture(autouse=True, scope="session")
def _own_groups() -> Iterator[None]:
    """Have a cgroup to make others in, apart from a pytest that runs beside this one.

    What the other one leaves, until its next run sweeps it, is no footprint of this one's tests.
    Where that is refused, and on v2, where groups with processes in them have no limited ones below
    them, all share one.
    """
    made = []
    for place in _legacy_groups():
        _remove_abandoned(place)
        own = f"{place}/{_OWN}{os.getpid()}"
        with suppress(OSError):
            os.mkdir(own)
            made.append((place, own))
            _enter(own)
    yield
    for place, own in made:
        _enter(place)
        _sweep(own)
        _remove(own)


@pytest.fixture(autouse=True, scope="session")
def _no_hypothesis() -> None:
    """Spare each pytest that a test starts the import of hypothesis, a quarter of its time."""
    os.environ["PYTEST_ADDOPTS"] = _OPTIONS


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Return pytester, which has discarded the options that the environment gives to pytest."""
    monkeypatch.setenv("PYTEST_ADDOPTS", _OPTIONS)
    return pytester


@pytest.fixture
def footprint() -> Iterator[Footprint]:
    """Return the machine as it was; whatever stays behind fails the test."""
    footprint = Footprint()
    yield footprint
    assert footprint.left() == []


def _mounts() -> set[str]:
    return set(Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines())


def _files() -> set[str]:
    # Other programs write to these places as well, so only names that are ours or our tests'.
    return {
        os.path.join(place, name)
        for place in _PLACES
        if os.access(place, os.R_OK)
        for name in os.listdir(place)
        if any(word in name for word in _WORDS)
    }


def _abandoned_groups() -> set[str]:
    """Return the run directories whose keeper is dead; a living one holds a lock on its own."""
    return {
        os.path.join(place, name)
        for top in _legacy_groups() or [_CGROUPS]
        for place, names, _ in os.walk(top)
        for name in names
        if name.startswith("pytest-isolate.") and _is_abandoned(os.path.join(place, name))
    }


def _legacy_groups() -> list[str]:
    """Return the groups of cgroup v1 that this process is in, those that can be reached."""
    lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    return [
        path
        for _, controllers, own in (line.split(":", 2) for line in lines)
        if not _CONTROLLERS.isdisjoint(controllers.split(","))
        and os.path.isdir(path := f"{_CGROUPS}/{controllers}{own.rstrip('/')}")
    ]


def _remove_abandoned(place: str) -> None:
    """Remove what a pytest that was killed could not."""
    for name in os.listdir(place):
        pid = name.removeprefix(_OWN)
        if pid != name and not os.path.exists(f"/proc/{pid}"):
            with suppress(OSError):  # somebody is still in there, or it is another user's
                os.rmdir(f"{place}/{name}")


def _sweep(own: str) -> None:
    """Remove the groups of keepers that tests have killed, as the next run's keeper would."""
    for name in os.listdir(own):
        run = f"{own}/{name}"
        if name.startswith("pytest-isolate.") and _is_abandoned(run):
            for place, _, _ in os.walk(run, topdown=False):
                os.rmdir(place)


def _enter(group: str) -> None:
    Path(group, "cgroup.procs").write_text(f"{os.getpid()}", encoding="utf-8")


def _remove(group: str) -> None:
    """Remove a group, which takes that whatever was started in it is gone."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            os.rmdir(group)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def _is_abandoned(directory: str) -> bool:
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, PermissionError):
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return os.path.exists(directory)


def _processes(token: str) -> list[str]:
    """Return the command lines of the processes that have *token* in their environment."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):  # it has ended, or is another user's
                process = Path("/proc", name)
                if token.encode() in (process / "environ").read_bytes():
                    found.append(process.joinpath("cmdline").read_bytes().decode(errors="replace"))
    return found
