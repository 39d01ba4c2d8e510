"""Where this process is in the hierarchies of cgroups, and which of them controls what.

A machine may be hybrid: each controller is on cgroup v1 or on v2, so each is located by itself.
A path in /proc/self/cgroup counts from the root of the cgroup namespace and a mount may show a part
of the hierarchy only (cgroup_namespaces(7)), so both are put together and the result is verified:
the group found must have this process in it.
"""

from __future__ import annotations

from dataclasses import dataclass
import enum
import os
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.cgroups import cgroupfs
from pytest_isolate.sandbox.cgroups import refusals
from pytest_isolate.sandbox.cgroups import run_directories
from pytest_isolate.sandbox.linux import mountinfo

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Mapping
    from collections.abc import Sequence

    from pytest_isolate.sandbox.linux.mountinfo import MountPoint

#: The key of the v2 hierarchy among the names of controllers, as in /proc/self/cgroup.
UNIFIED: Final = ""


class Version(enum.StrEnum):
    """The two interfaces to cgroups."""

    V1 = "v1"
    V2 = "v2"


_VERSIONS: Final = {"cgroup": Version.V1, "cgroup2": Version.V2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One mount of a cgroup hierarchy."""

    version: Version
    root: str  #: the group that is seen at the mount point
    point: str
    options: frozenset[str]  #: of v1, the controllers are among them


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The group under which this process makes runs, in one hierarchy: its own as a rule."""

    version: Version
    path: str  #: the directory
    hierarchy: str = UNIFIED  #: `UNIFIED`, or the controllers of v1 that it is for: `cpu,cpuacct`


def here() -> tuple[dict[str, str], list[Mount]]:
    """Return this process's groups by controller, and the cgroup mounts that it sees."""
    groups = parse_membership(cgroupfs.read("/proc/self/cgroup"))
    return groups, cgroup_mounts(mountinfo.current())


def parse_membership(text: str) -> dict[str, str]:
    """Return the group by controller, `UNIFIED` among them, of the lines of /proc/PID/cgroup."""
    groups: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), path))
    return groups


def cgroup_mounts(mounts: Iterable[MountPoint]) -> list[Mount]:
    """Return those of *mounts* that show a hierarchy of cgroups."""
    return [
        Mount(
            version=_VERSIONS[mount.fstype],
            root=mount.root,
            point=mount.target,
            options=frozenset(mount.options),
        )
        for mount in mounts
        if mount.fstype in _VERSIONS
    ]


def resolve(mount: Mount, group: str) -> str | None:
    """Return the directory of *group* in *mount*, or None if the mount does not show it."""
    inside = mount.root in {"/", group} or group.startswith(f"{mount.root}/")
    below = group if mount.root == "/" else group.removeprefix(mount.root)
    # A ".." says that the group is outside of the cgroup namespace, at a place without a name.
    if not inside or ".." in below.split("/"):
        return None
    return f"{mount.point}/{below.strip('/')}".rstrip("/")


def locate(controller: str, groups: Mapping[str, str], mounts: Sequence[Mount]) -> Place:
    """Return the group in which *controller* counts this process.

    If another run has moved this process out of the way, that is the group where it was before.
    Raises `SandboxError` if there is no such controller, or if its group cannot be seen.
    """
    version = Version.V1 if controller in groups else Version.V2
    group = groups.get(controller, groups.get(UNIFIED))
    if group is None:
        raise refusals.no_controller(controller)
    candidates = [
        mount
        for mount in mounts
        if mount.version is version and (version is Version.V2 or controller in mount.options)
    ]
    if not candidates:
        raise refusals.not_mounted(controller, version)
    for mount in candidates:
        path = resolve(mount, group)
        if path is None or not _holds_this_process(path):
            continue
        base = run_directories.base_of(path)
        if version is Version.V2 and controller not in enabled(base):
            top = mount.point
            exists = controller in enabled(top) or not cgroupfs.is_root(top)
            raise refusals.not_delegated(controller, base, exists=exists)
        hierarchy = ",".join(sorted(mount.options & groups.keys()))
        return Place(version=version, path=base, hierarchy=hierarchy)
    raise refusals.not_visible(controller, group, candidates[0].point)


def enabled(path: str) -> set[str]:
    """Return the v2 controllers that the group at *path* has."""
    return set(cgroupfs.read(f"{path}/cgroup.controllers").split())


def _holds_this_process(path: str) -> bool:
    try:
        return os.getpid() in cgroupfs.members(path)
    except OSError:
        # Not there, or under another mount: a second mount of the hierarchy may show it.
        return False
