"""Machines whose kernel refuses user namespaces: each is told, and its mend is one.

`vmlab` boots a kernel and runs one command in it as root, see ISOLATE_TEST_VMLAB.
"""

from __future__ import annotations

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
#: What makes a machine one of an environment.
SYSCTLS: Final = {
    Environment.LIMIT: "user.max_user_namespaces=0",
    Environment.CLONE: "kernel.unprivileged_userns_clone=0",
}
ERRNOS: Final = {Environment.LIMIT: "ENOSPC", Environment.CLONE: "EPERM"}
#: As an ordinary user, twice: as the machine is, and after what was found is mended.
SCRIPT: Final = """
doctor() {
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


@pytest.mark.parametrize("environment", SYSCTLS)
def test_machine_that_refuses_is_told_and_mended(environment: Environment) -> None:
    mend = mends.FOR_NAMESPACES[environment]
    done = subprocess.run(
        [
            *(sys.executable, VMLAB, "--dir", str(PROJECT), "--cwd", str(PROJECT), "--"),
            *("sh", "-c", SCRIPT, sys.executable, SYSCTLS[environment], mend),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stderr == ""
    refused, mended = (_capabilities(text) for text in done.stdout.split("\f\n"))

    assert refused["sandbox"]["state"] == "no"
    assert refused["userns"]["errno"] == ERRNOS[environment]
    assert refused["userns"]["mend"] == mend
    assert mended["sandbox"]["state"] == "yes"
    assert mended["userns"]["state"] == "yes"


def _capabilities(text: str) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in json.loads(text)["capabilities"]}
