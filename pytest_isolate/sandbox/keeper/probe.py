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

from pytest_isolate.sandbox import remedies
from pytest_isolate.sandbox import rootfs
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.features import NAMESPACES
from pytest_isolate.sandbox.features import ROOT_STEPS
from pytest_isolate.sandbox.features import Capabilities
from pytest_isolate.sandbox.features import Capability
from pytest_isolate.sandbox.launch import entry
from pytest_isolate.sandbox.launch import hardening
from pytest_isolate.sandbox.launch import namespaces
from pytest_isolate.sandbox.linux import landlock
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.linux import waits
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterable
    from collections.abc import Iterator

    from pytest_isolate.sandbox.keeper.planner import Planner
    from pytest_isolate.sandbox.spec import Spec

_FLAGS: Final = {
    "mnt": libc.CLONE_NEWNS,
    "pid": libc.CLONE_NEWPID,
    "uts": libc.CLONE_NEWUTS,
    "ipc": libc.CLONE_NEWIPC,
    "net": libc.CLONE_NEWNET,
    "cgroup": libc.CLONE_NEWCGROUP,
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
_NOTES: Final = {"attributes": "overlay", "setting": "net"}
#: What Landlock does not restrict before an ABI of it.
_FREE: Final = (
    (landlock.REFER_ABI, "no renames between directories before Linux 5.19"),
    (landlock.TRUNCATE_ABI, "files can be truncated before Linux 6.2"),
    (landlock.TCP_ABI, "TCP is free before Linux 6.7"),
    (landlock.SCOPES_ABI, "signals and abstract sockets are free before Linux 6.12"),
)


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
        hardening.drop_capabilities(spec.user, os.getuid())

    return _attempt(enter)


def capabilities(trial: Trial, planner: Planner, controllers: Iterable[Capability]) -> Capabilities:
    """Return what this machine gives, by how the *trial* sandbox went."""
    signs = remedies.Signs.read()
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
    parts = [*_lessened(parts, trial.notes, signs), *_silent(planner.host)]
    return Capabilities(*parts, _landlock(), *controllers)


def _landlock() -> Capability:
    """Return what this kernel has of Landlock."""
    try:
        version = landlock.abi()
    except OSError as error:
        disabled = error.errno == errno.EOPNOTSUPP
        return Capability(
            name="landlock",
            available=False,
            why=error.strerror or "",
            fix="boot with landlock in the lsm= list" if disabled else "",
            code=error.errno or 0,
        )
    lacks = "; ".join(words for since, words in _FREE if version < since)
    return Capability(name="landlock", available=True, how=f"ABI {version}", lacks=lacks)


def _silent(host: rootfs.Host) -> Iterator[Capability]:
    """Yield what is to be said of mounts that do not answer, if there are any."""
    if host.silent:
        mounts = ", ".join(map(str, host.silent))
        yield Capability(
            name="mounts",
            available=True,
            lacks=f"left out, for they do not answer: {mounts}"
            if len(host.silent) > 1
            else f"left out, for it does not answer: {mounts}",
            fix=rootfs.fix_for(host.silent),
        )


def _untried(part: Capability, error: SandboxError) -> Capability:
    """Return *part*, which did not fail, of a sandbox that did not come that far."""
    if part.name in NAMESPACES:
        return part  # tried by itself
    return Capability(name=part.name, available=False, why=f"not tried, for: {error.what}")


def _lessened(
    parts: Iterable[Capability], notes: Iterable[str], signs: remedies.Signs
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
            code = codes[part.name]
            fix = remedies.for_proc(code, signs) if part.name == "proc" else ""
            if part.name == "pivot_root":
                fix = remedies.for_namespaces(code, signs)
            yield dataclasses.replace(part, lacks="; ".join(lacks[part.name]), fix=fix, code=code)
        else:
            yield part


def _blame(trial: SandboxError) -> dict[str, SandboxError]:
    name = next((name for step, name in _STEPS.items() if trial.what.startswith(step)), "userns")
    return {name: trial}


def _missing_namespaces() -> dict[str, SandboxError]:
    """Try each namespace by itself, inside a user namespace as the sandbox does."""
    maps = namespaces.single_maps(User.KEEP, os.geteuid(), os.getegid())

    def userns() -> None:
        libc.unshare(libc.CLONE_NEWUSER)
        namespaces.write_maps(maps, "self")

    def fresh(flag: int) -> Callable[[], None]:
        def attempt() -> None:
            userns()
            libc.unshare(flag)

        return attempt

    attempts = {"userns": userns} | {name: fresh(flag) for name, flag in _FLAGS.items()}
    errors = {name: _attempt(attempt) for name, attempt in attempts.items()}
    return {name: error for name, error in errors.items() if error is not None}


def _failed(name: str, error: SandboxError, signs: remedies.Signs) -> Capability:
    own = {"hostname": remedies.for_hostname, "proc": remedies.for_proc}.get(name)
    fix = own(error.code, signs) if own else ""
    return Capability(
        name=name,
        available=False,
        why=f"{error.what}: {error.why}",
        fix=error.fix or fix or remedies.for_namespaces(error.code, signs),
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
    words, ended = waits.hear(answer, pid)
    if ended is None:
        what = f"its trial did not end within {waits.DYING:g} s ({waits.describe(pid)})"
        return SandboxError("enter sandbox", what, code=errno.EIO)
    if words:
        return SandboxError.from_json(json.loads(words))
    if ended:
        return SandboxError("enter sandbox", f"its trial ended with status {ended}", code=errno.EIO)
    return None


def _tell(fd: int, error: SandboxError) -> None:
    os.write(fd, json.dumps(error.to_json()).encode())
