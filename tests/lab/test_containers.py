"""In a container like Docker's, and podman's: what is had, and that each fix is one.

`confine` runs a command in a container made as these make one, on this machine.
"""

from __future__ import annotations

from dataclasses import dataclass
import json
import os
from pathlib import Path
import re
import subprocess
import sys
from typing import Any
from typing import Final

import pytest

from pytest_isolate.sandbox import remedies
from pytest_isolate.sandbox.remedies import Environment

CONFINE: Final = os.environ["ISOLATE_TEST_CONFINE"]
PROJECT: Final = Path(__file__).parents[2]
#: What makes a container of `confine` one of an environment: options, variables, a file.
KINDS: Final[dict[Environment, tuple[tuple[str, ...], str]]] = {
    Environment.DOCKER: ((), "/.dockerenv"),
    Environment.GITLAB: (("--env", "GITLAB_CI=true"), "/.dockerenv"),
    Environment.GITHUB_CONTAINER: (("--env", "GITHUB_ACTIONS=true"), "/.dockerenv"),
    Environment.KUBERNETES: (("--env", "KUBERNETES_SERVICE_HOST=10.0.0.1"), "/.dockerenv"),
    Environment.PODMAN: (("--engine", "podman"), "/run/.containerenv"),
}
#: What a fix says, as options of `confine`.
OPTIONS: Final = {
    r"--privileged|privileged(?:: | = )true": ("--privileged",),
    r"seccomp[=:]unconfined|seccompProfile: \{type: Unconfined": ("--seccomp", "unconfined"),
    r"apparmor[=:]unconfined|appArmorProfile: \{type: Unconfined": ("--apparmor", "unconfined"),
    r"systempaths=unconfined|unmask=ALL|procMount: Unmasked": ("--systempaths", "unconfined"),
    r"--cap-add SYS_ADMIN": ("--cap-add", "SYS_ADMIN"),
    r"writable-cgroups=true|unmask=/sys/fs/cgroup": ("--cgroup-rw",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A container in which the project's own tests run."""

    options: tuple[str, ...] = ()  #: of `confine`
    ini: str = ""  #: of the suites that these tests write
    lacks: frozenset[str]  #: what the tests that are skipped need, and why it is not had


_REFUSED: Final = "make user and mount namespace"
#: With and without the capability that makes namespaces. Memory is capped in the first by this
#: machine's cgroups, and watched in the second, which asks for what it can have.
OWN: Final = {
    "SYS_ADMIN": Own(
        options=(
            *("--cap-add", "SYS_ADMIN", "--apparmor", "unconfined"),
            *("--systempaths", "unconfined", "--cgroup-rw"),
        ),
        lacks=frozenset({
            "pivot_root: the old root covered and not gone: chroot (pivot_root refused: EPERM)"
        }),
    ),
    "plain": Own(
        ini="isolate_unavailable = degrade",
        lacks=frozenset({
            f"sandbox: a sandbox's userns: {_REFUSED}: Operation not permitted",
            f"pivot_root: not tried, for: {_REFUSED}",
            "memory: memory cgroup is mounted read-only",
            "pids: pids cgroup is mounted read-only",
        }),
    ),
}

pytestmark = pytest.mark.usefixtures("footprint")


def confined(
    kind: Environment,
    options: tuple[str, ...],
    *command: str,
    script: str = 'touch "$0" && exec "$@"',
    seconds: int = 100,
) -> subprocess.CompletedProcess[str]:
    """Run Python with the arguments *command* in a container of *kind*, by a shell's *script*."""
    fixed, sign = KINDS[kind]
    return subprocess.run(
        [
            *(sys.executable, CONFINE, "--dir", str(PROJECT), "--cwd", str(PROJECT)),
            *("--timeout", str(seconds), "--env", "PYTHONDONTWRITEBYTECODE=1"),
            *(*fixed, *options, "--", "sh", "-c", script, sign, sys.executable, *command),
        ],
        capture_output=True,
        text=True,
        timeout=seconds + 30,
        check=False,
    )


def doctor(kind: Environment, *options: str) -> dict[str, dict[str, Any]]:
    """Return what the doctor finds in a container of *kind*, by name."""
    done = confined(kind, options, "-m", "pytest_isolate", "doctor", "--json")
    assert done.stderr == ""
    data = json.loads(done.stdout)
    return {entry["name"]: entry for entry in data["capabilities"]} | {
        "": {"environment": data["environment"]}
    }


def options_of(fix: str) -> tuple[str, ...]:
    """Return what *fix* says as options of `confine`."""
    return tuple(word for said, words in OPTIONS.items() if re.search(said, fix) for word in words)


@pytest.mark.parametrize("kind", KINDS)
def test_plain_container_is_told_by_its_signs_and_fixed_for_isolation(kind: Environment) -> None:
    found = doctor(kind)
    fix = remedies.FOR_NAMESPACES[kind].split(", or ")[0]

    assert found[""]["environment"] == kind
    if kind is not Environment.PODMAN:  # whose seccomp filter lets them through
        assert found["sandbox"]["state"] == "no"
        assert found["userns"]["errno"] == "EPERM"
        assert found["cgroup"]["fix"] == remedies.FOR_NAMESPACES[kind]
    fixed = doctor(kind, *options_of(fix))
    assert fixed["sandbox"]["state"] == "yes"


@pytest.mark.parametrize("kind", KINDS)
def test_last_alternative_gives_all_of_it_with_the_memory_cap(kind: Environment) -> None:
    fix = remedies.FOR_NAMESPACES[kind].split(", or ")[-1]
    found = doctor(kind, *options_of(fix))

    for entry in found.values():
        assert entry.get("state", "yes") == "yes", entry


@pytest.mark.parametrize("kind", remedies.FOR_PROC)
def test_masked_proc_is_partial_and_fixed(kind: Environment) -> None:
    unconfined = ("--seccomp", "unconfined", "--apparmor", "unconfined")
    found = doctor(kind, *unconfined)
    fixed = doctor(kind, *unconfined, *options_of(remedies.FOR_PROC[kind]))

    assert found["sandbox"]["state"] == "yes"
    assert found["proc"]["state"] == "partial"
    assert found["proc"]["fix"] == remedies.FOR_PROC[kind]
    assert fixed["proc"]["state"] == "yes"


@pytest.mark.parametrize("kind", remedies.FOR_CGROUPS)
def test_read_only_cgroups_are_fixed(kind: Environment) -> None:
    unconfined = ("--seccomp", "unconfined", "--apparmor", "unconfined")
    found = doctor(kind, *unconfined)
    fixed = doctor(kind, *unconfined, *options_of(remedies.FOR_CGROUPS[kind].split(", or ")[0]))

    assert found["memory"]["errno"] == "EROFS"
    assert found["memory"]["fix"] == remedies.FOR_CGROUPS[kind]
    assert fixed["memory"]["state"] == "yes"


@pytest.mark.parametrize("kind", remedies.FOR_HOSTNAME)
def test_host_name_is_missing_and_fixed(kind: Environment) -> None:
    found = doctor(kind)
    fixed = doctor(kind, *options_of(remedies.FOR_HOSTNAME[kind]))

    assert found["sandbox"]["state"] == "yes"
    assert found["hostname"]["state"] == "no"
    assert found["hostname"]["fix"] == remedies.FOR_HOSTNAME[kind]
    assert fixed["hostname"]["state"] == "yes"


def test_docker_with_sys_admin_alone_covers_the_root() -> None:
    found = doctor(Environment.DOCKER, "--cap-add", "SYS_ADMIN", "--apparmor", "unconfined")

    assert found["sandbox"]["state"] == "yes"
    assert found["pivot_root"]["state"] == "partial"
    assert found["pivot_root"]["errno"] == "EPERM"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("recourse", ["fail", "degrade"])
def test_pytest_in_a_plain_container(kind: Environment, recourse: str, tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(
        "import os, pytest\n"
        "def test_pass(tmp_path): (tmp_path / 'a').touch()\n"
        "def test_crash(): os.abort()\n"
    )
    done = confined(
        kind,
        ("--dir", str(tmp_path), "--cwd", str(tmp_path)),
        *("-m", "pytest", "-p", "no:cacheprovider", "-rA", "--rootdir=.", "--isolate"),
        f"--isolate-unavailable={recourse}",
    )
    header = next(line for line in done.stdout.splitlines() if line.startswith("isolate: "))

    assert "Traceback" not in done.stdout
    if kind is Environment.PODMAN:
        assert "userns+mnt+pid+uts+ipc+net+cgroup" in header
    elif recourse == "fail":
        assert "; not to be had (fail): a sandbox's userns: " in header
        assert f"fix: {remedies.FOR_NAMESPACES[kind]}" in done.stdout
        assert "ERROR test_x.py::test_pass" in done.stdout
        assert "\nIsolation failed: a sandbox's userns: " in done.stdout
        return
    else:
        assert "; partial (no userns); Landlock (ABI " in header
    assert "PASSED test_x.py::test_pass" in done.stdout
    assert "FAILED test_x.py::test_crash" in done.stdout
    assert "\nCrashed: killed by SIGABRT\n" in done.stdout


@pytest.mark.parametrize("suite", ["tests/sandbox", "tests/acceptance"])
@pytest.mark.parametrize("name", OWN)
def test_the_projects_own_tests_pass_or_say_what_they_lack(
    name: str, suite: str, tmp_path: Path
) -> None:
    own = OWN[name]
    # Docker's containers write to a disk, those of `confine` to memory: what a test prints would
    # count, and on a busy machine be too much, before its parent gives it back.
    tmp_path.chmod(0o1777)
    disk = ("--dir", f"{tmp_path}:/tmp:rw")
    done = confined(
        *(Environment.DOCKER, (*disk, "--env", f"ISOLATE_TEST_INI={own.ini}", *own.options)),
        *("-m", "pytest", "-p", "no:cacheprovider", "-q", "-rs", "--timeout=300", suite),
        # They write beside themselves. The shell is there to reap, as `docker run --init` is.
        script='touch "$0" && cp -r . /tmp/project && cd /tmp/project && "$@"; exit',
        seconds=3600,
    )

    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    found = set(re.findall(r": needs (.+)$", done.stdout, re.MULTILINE))
    assert found <= own.lacks
    assert found & own.lacks, done.stdout
