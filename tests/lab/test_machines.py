"""Machines whose kernel refuses user namespaces: each is told, and its mend is one.

`vmlab` boots a kernel and runs one command in it as root, see ISOLATE_TEST_VMLAB.
"""

from __future__ import annotations

from dataclasses import dataclass
import json
import os
from pathlib import Path
import subprocess
import sys
from typing import Any
from typing import Final

import pytest

from pytest_isolate.sandbox import mends
from pytest_isolate.sandbox.mends import Environment

VMLAB: Final = os.environ["ISOLATE_TEST_VMLAB"]
PROJECT: Final = Path(__file__).parents[2]


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
#: As an ordinary user, twice: as the machine is, and after what was found is mended.
SCRIPT: Final = """
doctor() {
    [ "$(cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns 2> /dev/null)" = 1 ] ||
        unset LD_PRELOAD
    setpriv --reuid 1001 --regid 1001 --clear-groups env HOME=/tmp PYTHONDONTWRITEBYTECODE=1 \
        "$0" -m pytest_isolate doctor --json
}
sysctl -q -w "$1"
doctor
echo
printf '\\f\\n'
sh -c "sudo() { \\"\\$@\\"; }; $2" > /dev/null
doctor
true
"""


@pytest.mark.parametrize("environment", MACHINES)
def test_machine_that_refuses_is_told_and_mended(environment: Environment) -> None:
    machine = MACHINES[environment]
    mend = mends.FOR_NAMESPACES[environment]
    done = subprocess.run(
        [
            *(sys.executable, VMLAB, *machine.options),
            *("--dir", str(PROJECT), "--cwd", str(PROJECT), "--"),
            *("sh", "-c", SCRIPT, sys.executable, machine.sysctl, mend),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stderr == ""
    refused, mended = (_capabilities(text) for text in done.stdout.split("\f\n"))

    assert refused["sandbox"]["state"] == "no"
    assert refused["userns"]["errno"] == machine.errno
    assert refused["userns"]["mend"] == mend
    assert mended["sandbox"]["state"] == "yes"
    assert mended["userns"]["state"] == "yes"


def _capabilities(text: str) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in json.loads(text)["capabilities"]}
