"""One run of a suite in a fresh place, and what it told and left."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import TypeAlias
from typing import final
import uuid

from tests.suites.released import HERE

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What was told of one test, report by report.
Told: TypeAlias = "list[dict[str, Any]]"

#: Written by Python and pytest for later runs.
_CACHES: Final = {"__pycache__", ".pytest_cache", ".hypothesis"}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is run: a suite's tests by an interpreter that has what they need."""

    name: str
    python: Path
    args: tuple[str, ...]  #: pytest's
    tree: Path | None = None  #: is copied to where pytest starts
    seconds: int  #: that it may take


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a suite."""

    seconds: float
    ended: bool  #: rather than being ended by its time limit
    tests: dict[str, Told]
    left: list[str]  #: files and processes that outlived it


def run(job: Job, place: Path, *, isolated: bool) -> Run:
    """Carry out *job* below *place*, in a fresh copy of its tree."""
    # Under its own name: the folder is in messages, and has to be the same.
    fresh = place / "run"
    shutil.rmtree(fresh, ignore_errors=True)
    work, home = fresh / "work", fresh / "home"
    home.mkdir(parents=True)
    # Not below: a suite's own runs of pytest must find no configuration in the folders above.
    temporary = Path(tempfile.gettempdir(), f"suite-{os.getpid()}")
    temporary.mkdir()
    if job.tree is None:
        work.mkdir()
    else:
        shutil.copytree(job.tree, work, symlinks=True)
    # A suite without a configuration of its own would find one in the folders above.
    (fresh / "pytest.ini").touch()
    record = fresh / "record"
    record.touch()
    token = uuid.uuid4().hex
    environment = {
        "PATH": os.pathsep.join([os.fspath(job.python.parent), os.environ["PATH"]]),
        "HOME": os.fspath(home),
        "TMPDIR": os.fspath(temporary),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "SHELL": "/bin/sh",
        "PYTHONPATH": os.fspath(HERE / "plugin"),
        "SUITE_RECORD": os.fspath(record),
        "SUITE_TOKEN": token,
    }
    # A shell's background jobs ignore interrupts, and whether they do must not matter here.
    command = ["env", "--default-signal", os.fspath(job.python), "-m", "pytest"]
    command += ["-p", "suite_recorder"]
    command += ["-p", "no:cacheprovider", *(["--isolate"] if isolated else []), *job.args]
    log = place / f"{job.name}.{'isolated' if isolated else 'plain'}.log"
    before = _files(work)
    start = time.perf_counter()
    ended = _finish(command, work, environment, log, job.seconds)
    seconds = time.perf_counter() - start
    left = [
        *sorted(_files(work) ^ before),
        *(f"$TMPDIR/{name}" for name in _files(temporary) if not name.startswith("pytest-of-")),
        *(f"process {name}" for name in _processes(token)),
    ]
    shutil.rmtree(temporary)
    return Run(seconds=seconds, ended=ended, tests=_told(record), left=left)


def _finish(
    command: list[str], work: Path, environment: dict[str, str], log: Path, seconds: int
) -> bool:
    """Run *command* to its end, and say whether that came in time."""
    with log.open("wb") as output:
        # A session of its own: the terminal is nobody's, and what hangs is ended with its children.
        process = subprocess.Popen(
            command,
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return True


def _told(record: Path) -> dict[str, Told]:
    tests: dict[str, Told] = defaultdict(list)
    for line in record.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        tests[told.pop("nodeid")].append(told)
    return dict(tests)


def _files(place: Path) -> set[str]:
    return {
        os.path.relpath(os.path.join(folder, name), place)
        for folder, _, names in os.walk(place)
        if not _CACHES.intersection(Path(folder).parts)
        for name in names
    }


def _processes(token: str) -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if token.encode() in (process / "environ").read_bytes():
                yield (process / "comm").read_text(encoding="utf-8").strip()
        except OSError:  # it has ended, or is another user's
            continue
