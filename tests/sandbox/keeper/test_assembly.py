"""A sandbox built from outside: the same on kernels that know `pidns=` and those that do not."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.keeper import prepare_root
from pytest_isolate.sandbox.keeper.build_privileged import OwnNamespaces
from pytest_isolate.sandbox.keeper.build_privileged import assemble
from pytest_isolate.sandbox.keeper.planner import Planner
from pytest_isolate.sandbox.launch import entry
from pytest_isolate.sandbox.linux import capabilities
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.any_python,
    pytest.mark.skipif(
        not capabilities.is_machine_root(), reason="only the machine's root builds from outside"
    ),
]


def processes(spec: Spec, init: int) -> list[str]:
    """Return the names of the processes that one inside the sandbox of *init* sees."""
    answer, answer_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        entry.enter(spec, init, pid_too=True)
        inside = os.fork()
        if inside == 0:
            seen = sorted(name for name in os.listdir("/proc") if name.isdigit())
            os.write(answer_end, json.dumps(seen).encode())
            os._exit(0)
        os.waitpid(inside, 0)
        os._exit(0)
    os.close(answer_end)
    with os.fdopen(answer, "rb") as words:
        seen = json.loads(words.read())
    os.waitpid(pid, 0)
    return seen  # type: ignore[no-any-return]


@pytest.fixture
def own_namespaces() -> Iterator[None]:
    """Fail the test if this process is not where it was."""
    names = ("mnt", "pid", "pid_for_children", "uts", "ipc", "net", "user")

    def look() -> list[str]:
        return [os.readlink(f"/proc/self/ns/{name}") for name in names]

    before = look(), os.getcwd()
    yield
    assert (look(), os.getcwd()) == before


@pytest.mark.parametrize("knows_pidns", [None, False])
@pytest.mark.usefixtures("own_namespaces")
def test_proc_shows_the_sandboxs_processes(*, knows_pidns: bool | None) -> None:
    here = os.getcwd()
    own = OwnNamespaces(knows_pidns=knows_pidns)
    plan = Planner.survey().plan(Spec())
    report, report_end = os.pipe()
    life_end, life = os.pipe()
    built = assemble(plan, own, report_end, life_end)
    os.chdir(here)
    os.write(life, b"+")
    said = os.read(report, 4096)
    seen = processes(Spec(), built.pidfd)
    signal.pidfd_send_signal(built.pidfd, signal.SIGKILL)
    os.waitpid(built.init, 0)
    for fd in (report, report_end, life, life_end, built.pidfd):
        os.close(fd)
    own.close()

    assert b"Made" in said
    assert built.shortfalls == () or prepare_root.is_covered(built.shortfalls)
    # The one that enters the root for its kernel may have had a number before.
    assert seen[0] == "1"
    assert len(seen) == 2


@pytest.mark.usefixtures("own_namespaces")
def test_failure_on_the_way_leaves_nothing_and_comes_back() -> None:
    here = os.getcwd()
    own = OwnNamespaces()
    plan = Planner.survey().plan(Spec(network=Network.NONE, hostname="x" * 65))
    pipe = os.pipe()
    with pytest.raises(SandboxError, match="sethostname"):
        assemble(plan, own, pipe[1], pipe[0])
    os.chdir(here)
    for fd in pipe:
        os.close(fd)
    own.close()

    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
