"""What a test has written, kept on the host after its sandbox is gone.

A directory for each test, named after it: `files` has what it wrote at the paths inside, and
`changes.txt` a line for each change, the deleted and the left out too. They belong to the caller,
and nothing but plain files is copied: no links, no FIFOs, no devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import hashlib
import os
from pathlib import Path
import re
import shutil
import stat
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.policy.sizes import format_size
from pytest_isolate.reporting.leaks import MOST
from pytest_isolate.reporting.leaks import tell
from pytest_isolate.sandbox.supervise.changeset import What
from pytest_isolate.sandbox.supervise.changeset import open_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence

    from pytest_isolate.sandbox.layers import Layers
    from pytest_isolate.sandbox.supervise.changeset import Change

#: The most that is kept, in bytes: of one file, and of one test.
FILE_LIMIT: Final = 256 * 1024**2
TEST_LIMIT: Final = 1024**3
#: How many runs are kept where no directory was asked for, this one included.
RUNS: Final = 3

_CHUNK: Final = 16 * 1024**2
_UNWANTED: Final = re.compile(r"[^\w.@+=,\[\]-]|^\.+$", re.ASCII)
_LONGEST: Final = 100


@dataclass(slots=True, kw_only=True)
class Kept:
    """What was kept of one test."""

    place: Path
    files: int = 0
    size: int = 0  #: bytes
    left_out: list[str] = field(default_factory=list)  #: a line each

    def text(self, changes: Sequence[Change]) -> str:
        """Return the text of a report's section; *changes* is all that the test has done."""
        files = "1 file" if self.files == 1 else f"{self.files} files"
        lines = [*self.left_out, *tell(changes)]
        more = len(lines) - MOST
        if more > 0:
            lines[MOST:] = [f"and {more} more in changes.txt"]
        return "\n".join([f"{self.place}: {files} ({format_size(self.size)})", *lines])


def place_of(nodeid: str) -> str:
    """Return the relative path of the directory of the test called *nodeid*."""
    head, bracket, parameters = nodeid.partition("[")
    path, *names = head.split("::")
    names[-1:] = [f"{name}{bracket}{parameters}" for name in names[-1:]]
    return "/".join(_tame(part) for part in (*path.split("/"), *names) if part)


def _tame(name: str) -> str:
    """Return *name* as a file may be called everywhere; what was changed gets a hash."""
    tame = _UNWANTED.sub("_", name)[:_LONGEST]
    if tame == name:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()
    return f"{tame}-{digest[:8]}"


def keep(layers: Layers, changes: Sequence[Change], place: Path) -> Kept:
    """Copy what *changes* have written to *place*, which is replaced. Raises OSError."""
    if place.exists():
        shutil.rmtree(place)
    place.mkdir(parents=True)
    kept = Kept(place=place)
    for change in changes:
        if change.kind == "file" and change.what in {What.WRITTEN, What.CHANGED}:
            reason = _too_large(change, kept)
            if not reason:
                try:
                    kept.size += _copy(layers, change, place)
                    kept.files += 1
                except OSError as error:
                    reason = error.strerror or str(error)
            if reason:
                kept.left_out.append(f"left out {change.path}: {reason}")
    lines = "".join(f"{line}\n" for line in (*kept.left_out, *tell(changes)))
    (place / "changes.txt").write_text(lines, encoding="utf-8", errors="backslashreplace")
    return kept


def _too_large(change: Change, kept: Kept) -> str:
    if change.size > FILE_LIMIT:
        return f"its {format_size(change.size)} are more than {format_size(FILE_LIMIT)}"
    if kept.size + change.size > TEST_LIMIT:
        return f"with its {format_size(change.size)} it would be over {format_size(TEST_LIMIT)}"
    return ""


def _copy(layers: Layers, change: Change, place: Path) -> int:
    """Copy the file of *change*; return its size in bytes."""
    copy = Path(f"{place}/files{change.path}")
    copy.parent.mkdir(parents=True, exist_ok=True)
    source = open_file(layers, change)
    try:
        status = os.fstat(source)
        with copy.open("xb") as file:
            while os.sendfile(file.fileno(), source, None, _CHUNK):
                pass
            # Without the set-ID bits, and so that the caller can read and remove it.
            os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode) & 0o777 | 0o600)
            os.utime(file.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
    finally:
        os.close(source)
    return status.st_size


def run_directory(top: Path, run: str) -> Path:
    """Return the directory of this *run* below *top*, made, and remove all but the last few.

    Raises OSError; for a *top* that is another user's as well, who could have put links there.
    """
    top.mkdir(mode=0o700, exist_ok=True)
    status = top.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        msg = f"{top} is not a directory of this user's"
        raise PermissionError(msg)
    directory = top / run
    directory.mkdir(exist_ok=True)
    others = sorted(_other_runs(top, run), reverse=True)
    for _, name in others[RUNS - 1 :]:
        shutil.rmtree(top / name, ignore_errors=True)
    return directory


def _other_runs(top: Path, run: str) -> Iterator[tuple[int, str]]:
    for entry in os.scandir(top):
        if entry.name != run and entry.is_dir(follow_symlinks=False):
            yield entry.stat(follow_symlinks=False).st_mtime_ns, entry.name
