"""Machines that refuse user namespaces, or a cgroup: each is told, and its fix is one.

`vmlab` boots a kernel and runs one command in it as root, see ISOLATE_TEST_VMLAB.
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
from pytest_isolate.sandbox.cgroups import refusals
from pytest_isolate.sandbox.remedies import Environment
from pytest_isolate.sandbox.remedies import Signs

VMLAB: Final = os.environ["ISOLATE_TEST_VMLAB"]
PROJECT: Final = Path(__file__).parents[2]
SHOWN: Final = ("--dir", str(PROJECT), "--cwd", str(PROJECT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One that is of an environment."""

    sysctl: str  #: what makes it so
    errno: str
    options: tuple[str, ...] = ()  #: of `vmlab`


_RESTRICTS: Final = "kernel.apparmor_restrict_unprivileged_userns"
#: As Ubuntu: a user namespace is had, and AppArmor denies all that can be done in it. The denials
#: are the kernel's, at the word of a preloaded library; the sysctl, which Ubuntu adds, is a file.
_UBUNTU: Final = (
    "--ubuntu-userns",
    "--setup",
    (
        "cp -r /proc/sys/kernel /run/kernel 2> /dev/null;"
        f" echo 0 > /run/{_RESTRICTS.replace('.', '/')}; mount --bind /run/kernel /proc/sys/kernel"
    ),
)
MACHINES: Final = {
    Environment.LIMIT: Machine(sysctl="user.max_user_namespaces=0", errno="ENOSPC"),
    Environment.CLONE: Machine(sysctl="kernel.unprivileged_userns_clone=0", errno="EPERM"),
    Environment.APPARMOR: Machine(sysctl=f"{_RESTRICTS}=1", errno="EACCES", options=_UBUNTU),
}
#: As an ordinary user, twice: as the machine is, and after what was found is fixed.
SCRIPT: Final = """
doctor() {
    [ "$(cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns 2> /dev/null)" = 1 ] ||
        unset LD_PRELOAD
    setpriv --reuid 1001 --regid 1001 --clear-groups env HOME=/tmp PYTHONDONTWRITEBYTECODE=1 \
        "$0" -m pytest_isolate doctor --json
}
sysctl -q -w "$1"
doctor
printf '\\n\\f\\n'
sh -c "sudo() { \\"\\$@\\"; }; $2" > /dev/null
doctor
true
"""


#: How an ordinary user's process is started that has no cgroup to write to. With systemd: as a
#: hosted runner's is, which is a service, and nobody has logged in.
STARTS: Final = {
    "systemd": "systemd-run -q --wait --pipe --uid 1001 --gid 1001 --same-dir",
    "by hand": "setpriv --reuid 1001 --regid 1001 --clear-groups",
}
_USER: Final = """
rm -f /.dockerenv /run/.containerenv
useradd --uid 1001 lab
doctor="$1 env HOME=/tmp PYTHONDONTWRITEBYTECODE=1 $0 -m pytest_isolate doctor --json"
"""
#: Twice as well. What starts the second is the shell that the fix was told of.
CAPPED_SCRIPT: Final = f"""{_USER}
$doctor
printf '\\n\\f\\n'
sh -c "sudo() {{ \\"\\$@\\"; }}; $2; exec $doctor"
true
"""
#: A container's first process is a shell, as in most jobs, and that is in the way.
STRANGERS_SCRIPT: Final = """
doctor="env PYTHONDONTWRITEBYTECODE=1 $0 -m pytest_isolate doctor --json"
$doctor
printf '\\n\\f\\n'
sh -c "$1 $doctor"
true
"""
#: `systemctl edit` and a new login, without hands.
DELEGATED_SCRIPT: Final = f"""{_USER}
edit() {{
    mkdir -p /etc/systemd/system/user@.service.d
    printf '[Service]\\n%b\\n' "$1" > /etc/systemd/system/user@.service.d/override.conf
    systemctl daemon-reload
    systemctl restart user@1001.service
}}
edit 'Delegate=\\nDelegate=memory pids'
$doctor
printf '\\n\\f\\n'
edit "$2"
$doctor
"""


@pytest.mark.parametrize("environment", MACHINES)
def test_machine_that_refuses_is_told_and_fixed(environment: Environment) -> None:
    machine = MACHINES[environment]
    fix = remedies.FOR_NAMESPACES[environment]
    refused, fixed = _twice(_run(machine.options, SCRIPT, machine.sysctl, fix))

    assert refused["sandbox"]["state"] == "no"
    assert refused["userns"]["errno"] == machine.errno
    assert refused["userns"]["fix"] == fix
    assert fixed["sandbox"]["state"] == "yes"
    assert fixed["userns"]["state"] == "yes"


@pytest.mark.parametrize("start", STARTS)
def test_user_without_a_cgroup_is_told_how_to_get_one(start: str) -> None:
    by_systemd = start == "systemd"
    fix = remedies.for_delegation("v2", "", Signs(uid=1001, systemd=by_systemd))
    told, _, _ = fix.removeprefix("as root, with the shell's PID: ").partition("; then in the ")
    machine = ("--systemd",) if by_systemd else ()
    fixing = told.replace("PID", "$$").replace("$(id -u)", "1001")
    refused, fixed = _twice(_run(machine, CAPPED_SCRIPT, STARTS[start], fixing))

    for name in ("memory", "pids", "cpu"):
        assert refused[name]["state"] == "no"
        assert refused[name]["errno"] == "EACCES"
        assert refused[name]["fix"] == fix
        assert fixed[name]["state"] == "yes"


def test_controller_that_systemd_does_not_delegate_is_named_and_had_after_its_fix() -> None:
    fix = refusals.not_delegated("cpu", "/", exists=True).fix
    lines = re.findall(r"add \[Service\] (.+), log in again", fix)
    refused, fixed = _twice(_run(("--systemd",), DELEGATED_SCRIPT, STARTS["systemd"], *lines))

    assert refused["cpu"]["state"] == "no"
    assert refused["cpu"]["why"] == "no delegated cpu controller"
    assert refused["cpu"]["fix"] == fix
    for entry in (refused["memory"], refused["pids"], fixed["cpu"]):
        assert entry["how"].startswith("cgroup v2, systemd scope")


def test_container_s_shell_is_in_the_way_and_the_fix_moves_it() -> None:
    fix = remedies.for_strangers("/sys/fs/cgroup", Signs())
    told = fix.partition(" away: ")[2].removesuffix("pytest ...")
    container = ("confine", "--privileged", "--dir", sys.prefix, *SHOWN, "--")
    refused, fixed = _twice(_run((), STRANGERS_SCRIPT, told, prefix=container))

    for name in ("memory", "pids", "cpu"):
        assert refused[name]["errno"] == "EBUSY"
        assert refused[name]["why"].startswith("cgroup shared with sh (1)")
        assert refused[name]["fix"] == fix
        assert fixed[name]["how"].startswith("cgroup v2")


def _run(
    machine: tuple[str, ...], script: str, *words: str, prefix: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run *script* with Python and *words* as its arguments, as root on a machine of `vmlab`."""
    return subprocess.run(
        [
            *(sys.executable, VMLAB, "--cgroup", "root", *machine, *SHOWN),
            *("--", *prefix, "sh", "-c", script, sys.executable, *words),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def _twice(done: subprocess.CompletedProcess[str]) -> list[dict[str, dict[str, Any]]]:
    """Return what the doctor said before and after, by name."""
    assert done.stderr == ""
    before, after = (json.loads(text)["capabilities"] for text in done.stdout.split("\f\n"))
    return [{entry["name"]: entry for entry in entries} for entries in (before, after)]
