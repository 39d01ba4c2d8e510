"""What is had in each environment of the laboratory, how it is had, and that nothing is left.

`vmlab` boots a kernel and runs a command in it; `confine` runs one in a container like Docker's.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from functools import cache
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import IO
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

VMLAB: Final = os.environ["ISOLATE_TEST_VMLAB"]
PROJECT: Final = Path(__file__).parents[2]
INSIDE: Final = PROJECT / "tests" / "lab" / "inside.py"
KERNELS: Final = ("uml-6.1", "uml-6.12", "uml-sid")

#: What a user gets at most, by the doctor: each other capability is a plain `yes`.
_CAPPED: Final = "cgroup v2"
_NO_CGROUP: Final = "no writable memory cgroup"
_READ_ONLY: Final = "memory cgroup is mounted read-only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lab:
    """One environment."""

    machine: tuple[str, ...]  #: options of `vmlab`
    prefix: tuple[str, ...] = ()  #: before the command
    memory: str  #: how the doctor says that the memory cap is had, or why it is not
    capped: bool = True
    sandbox: str = "yes"
    lesser: Mapping[str, str] = field(default_factory=dict)  #: state and errno that are not "yes"


def _docker(*options: str) -> tuple[str, ...]:
    return ("confine", *options)


_ROOT: Final = ("--cgroup", "root")
_USER: Final = ("--user", "lab")
_DOCKER: Final = ("--apparmor",)
_UNCONFINED: Final = ("--seccomp", "unconfined", "--apparmor", "unconfined")
_MASKED: Final = {"proc": "partial EPERM", "sysfs": "partial EPERM"}

#: Those that make sense on every kernel.
_COMMON: Final = {
    "root": Lab(machine=_ROOT, memory=_CAPPED),
    "user, delegated": Lab(machine=_USER, memory=_CAPPED),
    "user, not delegated": Lab(
        machine=(*_USER, "--cgroup", "undelegated"),
        memory=(
            f"{_NO_CGROUP}; make a systemd scope: systemd does not run here;"
            f" own mount: {_NO_CGROUP}"
        ),
        capped=False,
    ),
    "user, systemd": Lab(machine=("--systemd", *_USER), memory=f"{_CAPPED}, systemd scope"),
    "user, systemd, delegated": Lab(
        machine=("--systemd", *_USER),
        prefix=("systemd-run", "--user", "--scope", "-q", "-p", "Delegate=yes"),
        memory=_CAPPED,
    ),
}
_CONTAINERS: Final = {
    "Docker": Lab(
        machine=_DOCKER,
        prefix=_docker(),
        memory=(
            f"{_READ_ONLY}; make a systemd scope: systemd does not run here;"
            " mount the cgroup file system anew: Operation not permitted"
        ),
        capped=False,
        sandbox="no",
    ),
    "Docker, SYS_ADMIN": Lab(
        machine=_DOCKER,
        prefix=_docker("--cap-add", "SYS_ADMIN", "--apparmor", "unconfined"),
        memory=f"{_CAPPED}, own mount",
        lesser={"pivot_root": "partial EPERM"},
    ),
    "Docker, unconfined": Lab(
        machine=_DOCKER,
        prefix=_docker(*_UNCONFINED),
        memory=f"{_CAPPED}, own mount",
        lesser=_MASKED,
    ),
    "Docker, unconfined, user": Lab(
        machine=_DOCKER,
        prefix=_docker(*_UNCONFINED, "--systempaths", "unconfined", "--user", "1001"),
        memory=(
            f"{_NO_CGROUP}; make a systemd scope: systemd does not run here;"
            f" own mount: {_NO_CGROUP}"
        ),
        capped=False,
    ),
    "Docker, privileged": Lab(machine=_DOCKER, prefix=_docker("--privileged"), memory=_CAPPED),
    "podman": Lab(
        machine=(),
        prefix=_docker("--engine", "podman"),
        memory=f"{_CAPPED}, own mount",
        lesser={"hostname": "no EPERM", **_MASKED},
    ),
}

LABS: Final = {
    **{
        f"{kernel}: {name}": Lab(
            machine=("--kernel", kernel, *lab.machine),
            prefix=lab.prefix,
            memory=lab.memory,
            capped=lab.capped,
            # Linux 6.6: user attributes on tmpfs, where an ordinary user's overlays need them.
            lesser={"overlay": "partial ENOTSUP"} if kernel == "uml-6.1" and name != "root" else {},
        )
        for kernel in KERNELS
        for name, lab in _COMMON.items()
    },
    **{f"uml-6.12: {name}": lab for name, lab in _CONTAINERS.items()},
}

#: Of the doctor's rows, what these kernels do not have at all.
_NOT_HERE: Final = {"landlock"}
#: How every test of the suite in `inside` ends where it gets what it asks for.
ENDS: Final = {
    "test_finished": "passed",
    "test_hungry": "OOM killed: exceeded its memory cap of 32.0 MiB (peak 32.0 MiB)",
    "test_forks": "passed",
    "test_slow": "Timed out: exceeded its limit of 5 s",
    "test_crash": "Crashed: killed by SIGSEGV",
    "test_leaves": "passed",
}


def in_lab(
    name: str,
    *command: str,
    copy: bool = False,
    seconds: int = 600,
    output: IO[str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run Python with the arguments *command* in the environment *name*, in a copy if asked for.

    What it says is captured, or goes to *output* while it runs.
    """
    lab = LABS[name]
    shown = ["--dir", str(PROJECT)]
    if not Path(sys.prefix).is_relative_to(PROJECT):
        shown += ["--dir", sys.prefix]
    prefix = [*lab.prefix, *shown, "--"] if lab.prefix[:1] == ("confine",) else [*lab.prefix]
    copied = ["sh", "-c", COPY, str(PROJECT)] if copy else []
    guest = [*prefix, *copied, "env", "PYTHONDONTWRITEBYTECODE=1", sys.executable, *command]
    where = ["--cwd", "/scratch", "--timeout", str(seconds)]
    return subprocess.run(
        [VMLAB, *lab.machine, *shown, *where, "--", *guest],
        stdout=subprocess.PIPE if output is None else output,
        stderr=subprocess.PIPE if output is None else subprocess.STDOUT,
        text=True,
        timeout=seconds + 100,
        check=False,
    )


@cache
def found(name: str) -> dict[str, Any]:
    """Return what `inside` found in the environment *name*."""
    done = in_lab(name, str(INSIDE))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    data: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if matrix := os.environ.get("ISOLATE_TEST_MATRIX"):
        with open(matrix, "a", encoding="utf-8") as lines:
            lines.write(json.dumps({"environment": name, **data}) + "\n")
    return data


@pytest.mark.parametrize("name", LABS)
def test_the_doctor_says_exactly_what_is_had_and_how(name: str) -> None:
    lab = LABS[name]
    rows = {row["name"]: row for row in found(name)["doctor"]["capabilities"]}
    states = {
        key: f"{row['state']} {row['errno']}".strip()
        for key, row in rows.items()
        if key not in _NOT_HERE | {"memory", "pids", "cpu", "sandbox"}
    }
    memory = rows["memory"]

    assert rows["sandbox"]["state"] == lab.sandbox
    if lab.sandbox == "yes":
        assert {key: state for key, state in states.items() if state != "yes"} == dict(lab.lesser)
    if lab.capped:
        assert memory["how"] == f"{lab.memory}; a process over a cap of 4.0 MiB was killed"
        assert rows["pids"]["how"] == rows["cpu"]["how"] == lab.memory
    else:
        assert memory["state"] == "no"
        assert memory["why"].startswith(lab.memory)
    assert found(name)["doctor"]["sound"] == (lab.capped and lab.sandbox == "yes")


@pytest.mark.parametrize("name", LABS)
def test_the_header_names_what_is_had_and_what_is_not(name: str) -> None:
    lab = LABS[name]
    header = found(name)["header"]

    if lab.sandbox != "yes":
        assert "; not to be had (fail): a sandbox's userns: " in header
    elif lab.capped:
        # The doctor has taken this process to the scope, which is its own group from then on.
        how = lab.memory.removesuffix(", systemd scope")
        assert f"; memory 1.0 GiB ({how})" in header
    else:
        assert "; memory cap none (no writable memory cgroup)" in header


@pytest.mark.parametrize("name", LABS)
def test_every_test_ends_as_it_should_or_says_what_is_missing(name: str) -> None:
    lab = LABS[name]
    ends = found(name)["tests"]

    for test, end in ENDS.items():
        said = ends[test]
        if lab.sandbox != "yes":
            assert said.startswith("Isolation failed: a sandbox's userns: "), test
        elif not lab.capped and test == "test_hungry":
            assert said.startswith("Isolation failed: memory 32.0 MiB (test_x.py::test_hungry: ")
            assert lab.memory in said
        elif not lab.capped and test == "test_forks":
            assert said.startswith("Isolation failed: pids 8 (test_x.py::test_forks: ")
        else:
            assert said == end, test


@pytest.mark.parametrize("name", LABS)
def test_nothing_is_left_behind(name: str) -> None:
    assert found(name)["left"] == []


@pytest.mark.parametrize("kernel", KERNELS)
def test_degrade_watches_the_memory_where_no_cgroup_is_had(kernel: str) -> None:
    name = f"{kernel}: user, not delegated"
    done = in_lab(name, str(INSIDE), "--isolate-unavailable=degrade")
    said = json.loads(done.stdout.splitlines()[-1])

    assert "; memory cap: watched, 1.0 GiB (no writable memory cgroup); " in said["header"]
    assert said["tests"]["test_hungry"].startswith(
        "Killed: watched memory exceeded its cap of 32.0 MiB (seen "
    )
    assert said["left"] == []


#: The project's own tests, where each is long: a kernel in user mode forks slowly.
SUITES: Final = ("tests/sandbox", "tests/acceptance")
#: Where they run: as root and as an ordinary user, with all that there is. The runs of pytest in
#: them share a cgroup with the one around: root's may have processes, a user's get scopes.
PLACES: Final = tuple(n for n in LABS if n.endswith((": root", ": user, systemd")))
#: They write beside themselves, and the project is shown to be read only.
COPY: Final = 'mkdir project && cp -r "$0"/[!.]* project && cd project && exec "$@"'


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("name", PLACES)
def test_the_projects_own_tests_pass(name: str, suite: str, tmp_path: Path) -> None:
    command = ("-m", "pytest", "-p", "no:cacheprovider", "-v", "--timeout=300", suite)
    said = tmp_path / "said.txt"  # to be looked at meanwhile
    with said.open("w+", encoding="utf-8") as output:
        done = in_lab(name, *command, copy=True, seconds=5400, output=output)

    assert done.returncode == 0, said.read_text(encoding="utf-8")[-20_000:]
