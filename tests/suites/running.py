"""One run of a package's own tests in a fresh place, and what it told and left."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
import json
import os
from pathlib import Path
import shutil
import subprocess
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

    from tests.suites.released import Release
    from tests.suites.released import Workshop

#: What was told of one test, report by report.
Told: TypeAlias = "list[dict[str, Any]]"

_SECONDS: Final = 1800
#: Written by Python and pytest for later runs.
_CACHES: Final = {"__pycache__", ".pytest_cache", ".hypothesis"}


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a suite."""

    seconds: float
    status: int
    tests: dict[str, Told]
    left: list[str]  #: files and processes that outlived it


def run(workshop: Workshop, release: Release, *, isolated: bool) -> Run:
    """Run the suite of *release* in a fresh copy of its tree."""
    python = workshop.python(release, isolated=isolated)
    tree = workshop.tree(release)
    # Under its own name: the place is in messages, and has to be the same.
    place = workshop.place / "run"
    shutil.rmtree(place, ignore_errors=True)
    work, home, temporary = (place / name for name in ("work", "home", "tmp"))
    shutil.copytree(tree, work, symlinks=True)
    home.mkdir()
    temporary.mkdir()
    # A suite without a configuration of its own would find one in the folders above.
    (place / "pytest.ini").touch()
    record = place / "record"
    record.touch()
    token = uuid.uuid4().hex
    environment = {
        "PATH": os.pathsep.join([os.fspath(python.parent), os.environ["PATH"]]),
        "HOME": os.fspath(home),
        "TMPDIR": os.fspath(temporary),
        "LANG": "C.UTF-8",
        "TERM": "xterm",
        "SHELL": "/bin/sh",
        "PYTHONPATH": os.fspath(HERE / "plugin"),
        "SUITE_RECORD": os.fspath(record),
        "SUITE_TOKEN": token,
    }
    command = [os.fspath(python), "-m", "pytest", "-p", "suite_recorder", "-p", "no:cacheprovider"]
    command += [f"--deselect={test}" for test in release.deselect]
    command += ["--isolate"] if isolated else []
    before = _files(work)
    start = time.perf_counter()
    done = subprocess.run(
        [*command, *release.args],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=_SECONDS,
    )
    seconds = time.perf_counter() - start
    (workshop.place / f"{release.name}.{'isolated' if isolated else 'plain'}.log").write_bytes(
        done.stdout + done.stderr
    )
    tests: dict[str, Told] = defaultdict(list)
    for line in record.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        tests[told.pop("nodeid")].append(told)
    left = [
        *sorted(_files(work) ^ before),
        *(f"$TMPDIR/{name}" for name in _files(temporary) if not name.startswith("pytest-of-")),
        *(f"process {name}" for name in _processes(token)),
    ]
    return Run(seconds=seconds, status=done.returncode, tests=dict(tests), left=left)


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
