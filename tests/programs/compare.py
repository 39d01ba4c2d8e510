"""Use real programs in tests, without and with isolation, as the caller and as an ordinary user.

    python -m tests.programs.compare --quick
    python -m tests.programs.compare redis git
    python -m tests.programs.compare --all --page docs/reference/programs.md

Exits with 1 if a use does not pass in one of the ways, if anything is left behind by the isolated
run, or if a package is missing. Root's call tries an ordinary user by `.ci/as-ordinary-user`.
"""

from __future__ import annotations

import argparse
from contextlib import contextmanager
import json
import os
from pathlib import Path
import pwd
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING
from typing import Final

from tests.programs.judging import absent
from tests.programs.judging import all_passed
from tests.programs.judging import problems
from tests.programs.judging import table
from tests.programs.judging import verdict
from tests.programs.table import HERE
from tests.programs.table import programs
from tests.suites.comparing import put
from tests.suites.running import Job
from tests.suites.running import run

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Iterator

    from tests.programs.table import Program
    from tests.suites.running import Run

_PROJECT: Final = HERE.parent.parent
_UID: Final = 1000  #: .ci/as-ordinary-user's
_NAME: Final = "isolate-user"
#: A use that hangs is ended, far above what any takes.
_LIMIT: Final = "--timeout=300"
_SECONDS: Final = 3600
#: Where Debian's programs are: another of the same name may come first on the caller's.
_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


def attempt(some: Iterable[Program], place: Path) -> dict[str, str]:
    """Run the uses of *some* programs without and with isolation, and return how that went."""
    tree = place / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(HERE, tree / "tests" / "programs", ignore=ignored)
    wanted = {program.name: f"tests/programs/uses/{program.use}" for program in some}
    runs = [
        _run(place, tree, list(wanted.values()), isolated=isolated) for isolated in (False, True)
    ]
    verdicts = {name: verdict(use, *runs) for name, use in wanted.items()}
    verdicts |= {f"left behind: {what}": "is there" for what in runs[1].left}
    return verdicts


def _run(place: Path, tree: Path, uses: list[str], *, isolated: bool) -> Run:
    words = [] if isolated else ["--no-isolate"]
    job = Job(
        name="programs",
        python=Path(sys.executable),
        args=(*words, _LIMIT, *uses),
        tree=tree,
        seconds=_SECONDS,
    )
    done = run(job, place, isolated=isolated)
    if not all_passed(done):
        word = "isolated" if isolated else "plain"
        print((place / f"programs.{word}.log").read_text(encoding="utf-8", errors="replace"))
    print(
        f"uid {os.geteuid()}, {'with' if isolated else 'without'} isolation:"
        f" {len(done.tests)} uses in {done.seconds:.0f} s",
        flush=True,
    )
    return done


# --- what has to be there ---


def missing_of(program: Program) -> list[str]:
    """Return the packages of *program* that are not installed."""
    if shutil.which("dpkg-query") is None:
        return list(program.packages)
    return [package for package in program.packages if not _is_installed(package)]


def _is_installed(package: str) -> bool:
    command = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout == "installed"


# --- as an ordinary user ---


def attempt_as_user(some: Iterable[Program]) -> dict[str, str]:
    """Run the uses as an ordinary user, and return how that went."""
    fd, name = tempfile.mkstemp(prefix="programs-")
    os.close(fd)
    try:
        os.chown(name, _UID, _UID)
        command = ["bash", ".ci/as-ordinary-user", "python", "-m", "tests.programs.compare"]
        command += ["--place=../place", f"--verdicts={name}", *(program.name for program in some)]
        with _named(_UID):
            subprocess.run(command, cwd=_PROJECT, check=False)
        text = Path(name).read_text(encoding="utf-8")
    finally:
        os.unlink(name)
    verdicts: dict[str, str] = json.loads(text) if text else {}
    return verdicts


@contextmanager
def _named(uid: int) -> Iterator[None]:
    """Give *uid* a name for as long as the body takes: ssh and PostgreSQL refuse those without."""
    try:
        pwd.getpwuid(uid)
    except KeyError:
        pass
    else:
        yield
        return
    made = ["useradd", f"--uid={uid}", "--user-group", "--home-dir=/", "--shell=/bin/bash"]
    subprocess.run([*made, _NAME], check=True)
    try:
        yield
    finally:
        subprocess.run(["userdel", "--force", _NAME], check=True)


# --- the command ---


def _arguments() -> tuple[argparse.Namespace, list[Program]]:
    known = programs()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*known, []], metavar="PROGRAM")
    parser.add_argument("--all", action="store_true", help="all programs")
    parser.add_argument("--quick", action="store_true", help="those of a few seconds")
    parser.add_argument("--page", type=Path, help="put what was found into this file")
    parser.add_argument("--verdicts", type=Path, help="put what was found here, as JSON")
    parser.add_argument(
        "--place",
        type=Path,
        default=Path(tempfile.gettempdir(), "hermetic-programs"),
        help="where the tests run (default: %(default)s)",
    )
    arguments = parser.parse_args()
    some = [
        program
        for name, program in known.items()
        if arguments.all or name in arguments.names or (arguments.quick and program.quick)
    ]
    if not some:
        parser.error("name programs, or say --quick or --all")
    return arguments, some


def main() -> int:
    """Try what the command line names."""
    arguments, some = _arguments()
    os.environ["PATH"] = _PATH
    lacking = {program.name: missing_of(program) for program in some}
    there = [program for program in some if not lacking[program.name]]
    place = arguments.place.resolve()
    place.mkdir(parents=True, exist_ok=True)
    verdicts = attempt(there, place) if there else {}
    found = problems(f"uid {os.geteuid()}", there, verdicts)
    users = None
    if arguments.verdicts is not None:
        arguments.verdicts.write_text(json.dumps(verdicts), encoding="utf-8")
        return 0
    if there and os.geteuid() == 0:
        users = attempt_as_user(there)
        found += problems(f"uid {_UID}", there, users)
    found += absent(lacking)
    if arguments.page is not None:
        put(arguments.page, "table", table(there, verdicts, users))
    print("\n".join(found) or f"all {len(there)} work", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
