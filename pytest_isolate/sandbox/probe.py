"""What this machine gives, found by doing it.

A machine is probed by making one sandbox of the default kind and sending a process into it: on
Ubuntu 24.04 `unshare` succeeds and only a later step fails, so no single call tells. Only where
that fails are the parts tried one by one, to say which is missing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
import errno
import json
import os
import re
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox import _libc
from pytest_isolate.sandbox import entry
from pytest_isolate.sandbox import landlock
from pytest_isolate.sandbox import mends
from pytest_isolate.sandbox import namespaces
from pytest_isolate.sandbox import privileges
from pytest_isolate.sandbox.capabilities import NAMESPACES
from pytest_isolate.sandbox.capabilities import ROOT_STEPS
from pytest_isolate.sandbox.capabilities import Capabilities
from pytest_isolate.sandbox.capabilities import Capability
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable
    from collections.abc import Iterator

    from pytest_isolate.sandbox.planner import Planner
    from pytest_isolate.sandbox.spec import Spec

_FLAGS: Final = {
    "mnt": _libc.CLONE_NEWNS,
    "pid": _libc.CLONE_NEWPID,
    "uts": _libc.CLONE_NEWUTS,
    "ipc": _libc.CLONE_NEWIPC,
    "net": _libc.CLONE_NEWNET,
    "cgroup": _libc.CLONE_NEWCGROUP,
}
#: Which capability a failed step of the trial sandbox speaks of, by the step's first words.
_STEPS: Final = {
    "mount overlay": "overlay",
    "mount proc": "proc",
    "mount sysfs": "sysfs",
    "mount devpts": "devpts",
    "mount": "mnt",
    "pivot_root": "pivot_root",
    "umount2": "pivot_root",
    "change root": "pivot_root",
    "set host name": "uts",
    "sethostname": "hostname",
    "set up interface": "net",
    "make cgroup namespace": "cgroup",
}
#: Which capability a note on the trial sandbox speaks of: "... (proc refused: EPERM)".
_REFUSED: Final = re.compile(r"\((\w+) refused: (\w+)\)")
_NOTES: Final = {"attributes": "overlay"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How the trial sandbox went."""

    error: SandboxError | None = None  #: what stopped it
    hostname: SandboxError | None = None  #: why it had to do without a host name of its own
    notes: tuple[str, ...] = ()  #: what of its root file system is less than planned


def try_entry(init: int, spec: Spec) -> SandboxError | None:
    """Send a process into the ready sandbox of the pidfd *init*; return what stopped it."""

    def enter() -> None:
        entry.enter(spec, init, pid_too=True)
        entry.join(spec, ())
        privileges.drop(spec.user, os.getuid())

    return _attempt(enter)


def capabilities(trial: Trial, planner: Planner, controllers: Iterable[Capability]) -> Capabilities:
    """Return what this machine gives, by how the *trial* sandbox went."""
    signs = mends.Signs.read()
    how = {
        "userns": "all ids" if planner.maps_all else "one id",
        "overlay": "root overlay" if planner.machine_root else "root overlay per directory",
    }
    failures = {} if trial.error is None else {**_missing_namespaces(), **_blame(trial.error)}
    if trial.hostname is not None:
        failures["hostname"] = trial.hostname
    parts = [
        _failed(name, failures[name], signs)
        if name in failures
        else Capability(name=name, available=True, how=how.get(name, ""))
        for name in (*NAMESPACES, "hostname", *ROOT_STEPS)
    ]
    if trial.error is not None:
        parts = [_untried(part, trial.error) if part.available else part for part in parts]
    return Capabilities(*_lessened(parts, trial.notes, signs), landlock.capability(), *controllers)


def _untried(part: Capability, error: SandboxError) -> Capability:
    """Return *part*, which did not fail, of a sandbox that did not come that far."""
    if part.name in NAMESPACES:
        return part  # tried by itself
    return Capability(name=part.name, available=False, why=f"not tried, for: {error.what}")


def _lessened(
    parts: Iterable[Capability], notes: Iterable[str], signs: mends.Signs
) -> Iterator[Capability]:
    """Yield *parts* with what the *notes* say that they lack."""
    lacks: dict[str, list[str]] = {}
    codes: dict[str, int] = {}
    for note in notes:
        if found := _REFUSED.search(note):
            name = _NOTES.get(found[1], found[1])
            lacks.setdefault(name, []).append(note)
            codes.setdefault(name, getattr(errno, found[2], 0))
    for part in parts:
        if part.available and part.name in lacks:
            mend = mends.for_proc(signs) if part.name == "proc" else ""
            if part.name == "pivot_root":
                mend = mends.for_namespaces(codes[part.name], signs)
            yield dataclasses.replace(
                part, lacks="; ".join(lacks[part.name]), mend=mend, code=codes[part.name]
            )
        else:
            yield part


def _blame(trial: SandboxError) -> dict[str, SandboxError]:
    name = next((name for step, name in _STEPS.items() if trial.what.startswith(step)), "userns")
    return {name: trial}


def _missing_namespaces() -> dict[str, SandboxError]:
    """Try each namespace by itself, inside a user namespace as the sandbox does."""
    maps = namespaces.single_maps(User.KEEP, os.geteuid(), os.getegid())

    def userns() -> None:
        _libc.unshare(_libc.CLONE_NEWUSER)
        namespaces.write_maps(maps, "self")

    def fresh(flag: int) -> Callable[[], None]:
        def attempt() -> None:
            userns()
            _libc.unshare(flag)

        return attempt

    attempts = {"userns": userns} | {name: fresh(flag) for name, flag in _FLAGS.items()}
    errors = {name: _attempt(attempt) for name, attempt in attempts.items()}
    return {name: error for name, error in errors.items() if error is not None}


def _failed(name: str, error: SandboxError, signs: mends.Signs) -> Capability:
    mend = {"hostname": mends.for_hostname, "proc": mends.for_proc}.get(name, lambda _: "")(signs)
    return Capability(
        name=name,
        available=False,
        why=f"{error.what}: {error.why}",
        mend=error.mend or mend or mends.for_namespaces(error.code, signs),
        code=error.code,
    )


def _attempt(call: Callable[[], None]) -> SandboxError | None:
    """Do *call* in a forked child; return the error that it raised there."""
    answer, answer_end = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            call()
            status = 0
        except OSError as error:
            _tell(answer_end, SandboxError.from_os_error(error))
        except SandboxError as error:
            _tell(answer_end, error)
        finally:
            os._exit(status)
    os.close(answer_end)
    with os.fdopen(answer, "rb") as lines:
        words = lines.read()
    _, status = os.waitpid(pid, 0)
    if words:
        return SandboxError.from_json(json.loads(words))
    if status:
        return SandboxError(
            "enter sandbox", f"its trial ended with status {status}", code=errno.EIO
        )
    return None


def _tell(fd: int, error: SandboxError) -> None:
    os.write(fd, json.dumps(error.to_json()).encode())
