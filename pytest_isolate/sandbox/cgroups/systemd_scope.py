"""A cgroup of one's own from systemd: a transient scope with delegation.

Everybody may ask for one, ordinary users their own manager, and root the machine's. The request
goes by busctl(1), which comes with systemd. Whoever is in the scope cannot come back by itself:
systemd removes the scope when the last of them has ended.
"""

from __future__ import annotations

import errno
import os
import time
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.cgroups import cgroupfs
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.linux import process_tree
from pytest_isolate.sandbox.linux import systemd

if TYPE_CHECKING:
    from collections.abc import Mapping

_BUSCTL: Final = ("/usr/bin/busctl", "/bin/busctl")
_MANAGER: Final = (
    "org.freedesktop.systemd1",
    "/org/freedesktop/systemd1",
    "org.freedesktop.systemd1.Manager",
)
_WHAT: Final = "make a systemd scope"
#: How long the manager may take to answer, and then to move the processes, in seconds.
_LIMIT: Final = 5.0
_PAUSE: Final = 0.01
_CHUNK: Final = 4096


def enter(parent_pid: int) -> None:
    """Have systemd move *parent_pid*, its descendants and this process to a scope of their own.

    Nobody is moved who is in another group, or belongs to somebody else. Raises `SandboxError`.
    """
    environment = _environment()
    busctl = next((path for path in _BUSCTL if os.access(path, os.X_OK)), None)
    if busctl is None:
        raise SandboxError(_WHAT, "no busctl", code=errno.ENOENT)
    name = f"pytest-isolate-{os.urandom(6).hex()}.scope"
    call = request(name, _movable(parent_pid))
    bus = "--system" if os.geteuid() == 0 else "--user"
    words, status = _run([busctl, bus, f"--timeout={_LIMIT:g}", "call", *call], environment)
    if status:
        lines = words.strip().splitlines()
        raise SandboxError(_WHAT, lines[-1] if lines else f"busctl left with status {status}")
    deadline = time.monotonic() + _LIMIT
    while not all(_group(pid).endswith(f"/{name}") for pid in (parent_pid, os.getpid())):
        if time.monotonic() >= deadline:
            raise SandboxError(_WHAT, f"{name} was made, and nobody moved to it")
        time.sleep(_PAUSE)


def request(name: str, pids: list[int]) -> list[str]:
    """Return the arguments of `busctl call` for a scope called *name* with *pids* in it."""
    properties = [
        *("Description", "s", "pytest with isolated tests"),
        *("PIDs", "au", str(len(pids)), *map(str, pids)),
        *("Delegate", "b", "true"),
        *("CollectMode", "s", "inactive-or-failed"),
    ]
    # A unit, what to do if it clashes with others, 4 properties, no further units.
    return [
        *_MANAGER,
        "StartTransientUnit",
        "ssa(sv)a(sa(sv))",
        name,
        "fail",
        "4",
        *properties,
        "0",
    ]


def _environment() -> Mapping[str, str]:
    """Return an environment in which busctl finds the manager. Raises `SandboxError`."""
    if not systemd.is_here():
        raise SandboxError(_WHAT, "systemd does not run here", code=errno.ENOENT)
    if os.geteuid() == 0:
        return os.environ
    place = systemd.user_directory()
    if not systemd.has_user_manager():
        raise SandboxError(_WHAT, f"no user manager of systemd at {place}/bus", code=errno.ENOENT)
    return {**os.environ, "XDG_RUNTIME_DIR": place}


def _movable(parent_pid: int) -> list[int]:
    group, uid = _group(os.getpid()), os.geteuid()
    pids = {parent_pid, os.getpid(), *process_tree.descendants((parent_pid,))}
    return sorted(pid for pid in pids if _group(pid) == group and _owner(pid) == uid)


def _group(pid: int) -> str:
    """Return the v2 group of the process *pid*, or ""."""
    try:
        lines = cgroupfs.read(f"/proc/{pid}/cgroup").splitlines()
    except OSError:
        return ""
    return next((line[3:] for line in lines if line.startswith("0::")), "")


def _owner(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return -1


def _run(command: list[str], environment: Mapping[str, str]) -> tuple[str, int]:
    """Run *command*; return what it says to stderr, and its exit status."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.posix_spawn(
            command[0],
            command,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_DUP2, writing, 2),
            ],
        )
    finally:
        os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        words = stream.read(_CHUNK)
    _, status = os.waitpid(pid, 0)
    return words.decode(errors="replace"), os.waitstatus_to_exitcode(status)
