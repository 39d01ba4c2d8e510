"""Opening the cgroups of a run, by trying on this machine what each controller can do."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
import errno
import os
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.cgroups import cgroupfs
from pytest_isolate.sandbox.cgroups import private_mount
from pytest_isolate.sandbox.cgroups import refusals
from pytest_isolate.sandbox.cgroups import systemd_scope
from pytest_isolate.sandbox.cgroups.group import Cgroups
from pytest_isolate.sandbox.cgroups.locate import UNIFIED
from pytest_isolate.sandbox.cgroups.locate import Mount
from pytest_isolate.sandbox.cgroups.locate import Place
from pytest_isolate.sandbox.cgroups.locate import Version
from pytest_isolate.sandbox.cgroups.locate import here
from pytest_isolate.sandbox.cgroups.locate import locate
from pytest_isolate.sandbox.cgroups.v1 import LegacyBackend
from pytest_isolate.sandbox.cgroups.v2 import UnifiedBackend
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.features import CONTROLLERS
from pytest_isolate.sandbox.features import Capability
from pytest_isolate.sandbox.forked_call import NoAnswerError
from pytest_isolate.sandbox.forked_call import forked_call
from pytest_isolate.sandbox.linux import waits
from pytest_isolate.sandbox.spec import Limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_isolate.sandbox.cgroups.backend import Backend

_PROBE: Final = "probe"
_LIMITS: Final = Limits(memory=64 << 20, pids=16, cpus=0.5)


def open_cgroups(parent_pid: int) -> Cgroups:
    """Open the cgroups for a run of the pytest process *parent_pid*, an ancestor or this process.

    Each controller is tried for real: a group is made, limited, joined by a child and removed. What
    cannot be had is a capability that says why; only a bug raises. On cgroup v2 this moves *this*
    process, *parent_pid* and its descendants to a leaf group until `Cgroups.close`, and where
    the own group does not give the memory controller, it tries one rung of a ladder after the
    other: a scope of systemd's, a mount of our own. Each controller's `how` names its rung.
    """
    opened = _open(parent_pid)
    refused = []
    for rung in _RUNGS:
        if not opened.could_have_more():
            break
        if rung is _own_mount and opened.found["memory"].code == errno.EBUSY:
            continue  # the same group would be seen, with the same strangers in it
        opened.close()  # the next rung may be in another group
        try:
            better = rung(parent_pid)
        except SandboxError as error:
            refused.append(f"{error.what}: {error.why}")
            opened = opened.again()
        else:
            opened = _open(parent_pid, better)
            refused += opened.why_not(better.how)
    return Cgroups(opened.backends, opened.capabilities(refused))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Better:
    """A better place to open the v2 hierarchy at."""

    how: str  #: how it was had, in a word or two
    mount: Mount | None = None  #: where it is to be seen, if not where the machine has it


def _scope(parent_pid: int) -> _Better:
    systemd_scope.enter(parent_pid)
    return _Better(how="systemd scope")


def _own_mount(_: int) -> _Better:
    fd = private_mount.mount()
    group = here()[0][UNIFIED]
    mount = Mount(version=Version.V2, root=group, point=f"/proc/self/fd/{fd}", options=frozenset())
    return _Better(how="own mount", mount=mount)


#: How to get a cgroup where the own one is not writable, from what is asked for least on.
_RUNGS: Final = (_scope, _own_mount)


@dataclass(slots=True)
class _Opened:
    """What was had of the hierarchies, at one rung of the ladder."""

    parent_pid: int
    better: _Better | None
    backends: list[Backend]
    found: dict[str, Capability]

    def could_have_more(self) -> bool:
        """Return whether another place in the v2 hierarchy could have the memory controller."""
        memory = self.found["memory"]
        if memory.available or memory.why == refusals.no_controller("memory").why:
            return False
        groups, _ = here()
        return "memory" not in groups and UNIFIED in groups

    def close(self) -> None:
        for backend in self.backends:
            _abandon(backend)

    def again(self) -> _Opened:
        """Return the same once more, after it was closed."""
        return _open(self.parent_pid, self.better) if self.backends else self

    def why_not(self, how: str) -> list[str]:
        memory = self.found["memory"]
        return [] if memory.available else [f"{how}: {memory.why}"]

    def capabilities(self, refused: Sequence[str]) -> tuple[Capability, ...]:
        """Return the capabilities, those that are missing with what was tried to get them."""
        return tuple(
            dataclasses.replace(one, why="; ".join((one.why, *refused)))
            if name == "memory" and not one.available
            else one
            for name in CONTROLLERS
            for one in (self.found[name],)
        )


def _open(parent_pid: int, better: _Better | None = None) -> _Opened:
    places, found = _locate(better)
    backends: list[Backend] = []
    for place, controllers in places.items():
        backend = _backend(place, controllers, parent_pid)
        tried = _try(backend)
        found.update(tried)
        if any(capability.available for capability in tried.values()):
            backends.append(backend)
        else:
            _abandon(backend)
    if better is not None:
        found.update({
            one.name: dataclasses.replace(one, how=f"{one.how}, {better.how}")
            for one in found.values()
            if one.how.startswith(f"cgroup {Version.V2}")
        })
    return _Opened(parent_pid, better, backends, found)


def _locate(
    better: _Better | None,
) -> tuple[dict[Place, tuple[str, ...]], dict[str, Capability]]:
    """Return the controllers that were found by their place, and why the others were not."""
    own = [better.mount] if better and better.mount else []
    try:
        seen = here()
        while True:
            groups, mounts = seen
            found = _look(groups, own or mounts)
            now = here()
            if now == seen:
                return found
            # Another keeper of the same pytest has moved this process meanwhile.
            seen = now
    except OSError as error:
        # No /proc, or a kernel without cgroups.
        missing = SandboxError.from_os_error(error)
        return {}, {controller: _unavailable(controller, missing) for controller in CONTROLLERS}


def _look(
    groups: dict[str, str], mounts: list[Mount]
) -> tuple[dict[Place, tuple[str, ...]], dict[str, Capability]]:
    places: dict[Place, tuple[str, ...]] = {}
    missing: dict[str, Capability] = {}
    for controller in CONTROLLERS:
        try:
            place = locate(controller, groups, mounts)
        except SandboxError as error:
            missing[controller] = _unavailable(controller, error)
        else:
            places[place] = (*places.get(place, ()), controller)
    return places, missing


def _backend(place: Place, controllers: tuple[str, ...], parent_pid: int) -> Backend:
    match place.version:
        case Version.V1:
            return LegacyBackend(place, controllers)
        case Version.V2:
            return UnifiedBackend(place, controllers, parent_pid)


def _unavailable(controller: str, error: SandboxError) -> Capability:
    return Capability(
        name=controller, available=False, why=error.why, fix=error.fix, code=error.code
    )


def _try(backend: Backend) -> dict[str, Capability]:
    """Open *backend* and return what its controllers can do."""
    try:
        backend.open()
        group = f"{backend.path}/{_PROBE}"
        os.mkdir(group)
        tried = {name: _try_cap(backend, group, name) for name in backend.controllers}
        _join(group)
        cgroupfs.remove(group)
    except OSError as error:
        return {name: _refused(backend, name, error) for name in backend.controllers}
    except SandboxError as error:
        return {name: _unavailable(name, error) for name in backend.controllers}
    return tried


def _try_cap(backend: Backend, group: str, controller: str) -> Capability:
    try:
        lacks = backend.cap(group, controller, _LIMITS)
    except OSError as error:
        return _refused(backend, controller, error)
    how = f"cgroup {backend.place.version}"
    return Capability(name=controller, available=True, how=f"{how}, {lacks}" if lacks else how)


def _refused(backend: Backend, controller: str, error: OSError) -> Capability:
    place = backend.place
    return _unavailable(controller, refusals.refused(controller, error, place.version, place.path))


def _join(group: str) -> None:
    """Have a child join *group*, as a test process will."""
    path = f"{group}/cgroup.procs"
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        forked_call(lambda: os.write(fd, b"0"))
    except SandboxError as error:
        raise OSError(error.code, f"write 0 to: {error.why}", path) from None
    except NoAnswerError as silence:
        raise OSError(0, f"write 0 to: {_why(silence)}", path) from None
    finally:
        os.close(fd)


def _why(silence: NoAnswerError) -> str:
    if silence.status is None:
        return f"no answer of {waits.describe(silence.pid)}"
    code = os.waitstatus_to_exitcode(silence.status)
    return f"killed by signal {-code}" if code < 0 else f"no answer, exit status {code}"


def _abandon(backend: Backend) -> None:
    """Close a backend of no use. Its controllers have said why; what cannot be undone now stays."""
    try:
        backend.close()
    except OSError:
        return
