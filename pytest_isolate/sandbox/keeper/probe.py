"""What this machine gives, found by doing it.

A machine is probed by making one sandbox of the default kind and sending a process into it: on
Ubuntu 24.04 `unshare` succeeds and only a later step fails, so no single call tells. Only where
that fails are the parts tried one by one, to say which is missing.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
import errno
import os
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox import remedies
from pytest_isolate.sandbox import rootfs
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.features import NAMESPACES
from pytest_isolate.sandbox.features import ROOT_STEPS
from pytest_isolate.sandbox.features import Capabilities
from pytest_isolate.sandbox.features import Capability
from pytest_isolate.sandbox.features import Part
from pytest_isolate.sandbox.forked_call import NoAnswerError
from pytest_isolate.sandbox.forked_call import forked_call
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
    from collections.abc import Mapping

    from pytest_isolate.sandbox.keeper.planner import Planner
    from pytest_isolate.sandbox.shortfalls import Shortfall
    from pytest_isolate.sandbox.spec import Spec

    #: Returns what to do about a refusal with an errno, or "".
    Remedy = Callable[[int, remedies.Signs], str]

#: What is advised where a part is missing, besides what is advised for all.
_FOR_LACK: Final[Mapping[str, Remedy]] = {
    Part.HOSTNAME: remedies.for_hostname,
    Part.PROC: remedies.for_proc,
}
#: What is advised where a part is less than planned.
_FOR_LESS: Final[Mapping[str, Remedy]] = {
    Part.PROC: remedies.for_proc,
    Part.PIVOT_ROOT: remedies.for_namespaces,
}
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
    shortfalls: tuple[Shortfall, ...] = ()  #: what of it is less than planned


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
        Part.USERNS: "all ids" if planner.maps_all else "one id",
        Part.OVERLAY: "root overlay" if planner.machine_root else "root overlay per directory",
    }
    failures: dict[Part, SandboxError] = {}
    if trial.error is not None:
        failures = {**_missing_namespaces(), trial.error.part or Part.USERNS: trial.error}
    if trial.hostname is not None:
        failures[Part.HOSTNAME] = trial.hostname
    parts = [
        _failed(name, failures[name], signs)
        if name in failures
        else Capability(name=name, available=True, how=how.get(name, ""))
        for name in (*NAMESPACES, Part.HOSTNAME, *ROOT_STEPS)
    ]
    if trial.error is not None:
        parts = [_untried(part, trial.error) if part.available else part for part in parts]
    parts = [*_lessened(parts, trial.shortfalls, signs), *_silent(planner.host)]
    return Capabilities(*parts, _landlock(), *controllers)


def _landlock() -> Capability:
    """Return what this kernel has of Landlock."""
    try:
        version = landlock.abi()
    except OSError as error:
        disabled = error.errno == errno.EOPNOTSUPP
        return Capability(
            name=Part.LANDLOCK,
            available=False,
            why=error.strerror or "",
            fix="boot with landlock in the lsm= list" if disabled else "",
            code=error.errno or 0,
        )
    lacks = "; ".join(words for since, words in _FREE if version < since)
    return Capability(name=Part.LANDLOCK, available=True, how=f"ABI {version}", lacks=lacks)


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
    parts: Iterable[Capability], shortfalls: Iterable[Shortfall], signs: remedies.Signs
) -> Iterator[Capability]:
    """Yield *parts* with what was refused of them."""
    refused: dict[str, list[Shortfall]] = {}
    for one in shortfalls:
        if one.refused:
            refused.setdefault(one.part, []).append(one)
    for part in parts:
        if part.available and part.name in refused:
            less = refused[part.name]
            code = less[0].code
            remedy = _FOR_LESS.get(part.name)
            fix = remedy(code, signs) if remedy else ""
            yield dataclasses.replace(part, lacks="; ".join(map(str, less)), fix=fix, code=code)
        else:
            yield part


def _missing_namespaces() -> dict[Part, SandboxError]:
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

    attempts = {part: fresh(flag) for part, flag in namespaces.FLAGS.items()}
    attempts[Part.USERNS] = userns
    errors = {part: _attempt(attempt) for part, attempt in attempts.items()}
    return {part: error for part, error in errors.items() if error is not None}


def _failed(name: Part, error: SandboxError, signs: remedies.Signs) -> Capability:
    remedy = _FOR_LACK.get(name)
    fix = remedy(error.code, signs) if remedy else ""
    return Capability(
        name=name,
        available=False,
        why=f"{error.what}: {error.why}",
        fix=error.fix or fix or remedies.for_namespaces(error.code, signs),
        code=error.code,
    )


def _attempt(call: Callable[[], None]) -> SandboxError | None:
    """Do *call* in a forked child; return the error that it raised there."""
    try:
        forked_call(call)
    except SandboxError as error:
        return error
    except NoAnswerError as silence:
        why = f"its trial ended with status {silence.status}"
        if silence.status is None:
            stuck = waits.describe(silence.pid)
            why = f"its trial did not end within {waits.DYING:g} s ({stuck})"
        return SandboxError("enter sandbox", why, code=errno.EIO)
    return None
