"""Namespaces and id maps: which a sandbox gets, and how they are made."""

from __future__ import annotations

from dataclasses import dataclass
import os
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.features import Part
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What clone(2), unshare(2) and setns(2) call the namespaces.
FLAGS: Final[Mapping[Part, int]] = {
    Part.USERNS: libc.CLONE_NEWUSER,
    Part.MNT: libc.CLONE_NEWNS,
    Part.PID: libc.CLONE_NEWPID,
    Part.UTS: libc.CLONE_NEWUTS,
    Part.IPC: libc.CLONE_NEWIPC,
    Part.NET: libc.CLONE_NEWNET,
    Part.CGROUP: libc.CLONE_NEWCGROUP,
}
#: What every sandbox has of its own. The cgroup namespace is missing here: its root is the cgroup
#: of the process that makes it, so the test process makes it, after it has joined its cgroup.
FRESH: Final = sum(flag for part, flag in FLAGS.items() if part not in {Part.NET, Part.CGROUP})


def flags(spec: Spec) -> int:
    """Return the CLONE_* flags of the namespaces that a sandbox of *spec* has of its own."""
    if spec.partial:
        return 0
    return FRESH if spec.network is Network.HOST else FRESH | libc.CLONE_NEWNET


@dataclass(frozen=True, slots=True)
class IdRange:
    """One line of an id map, see user_namespaces(7)."""

    inside: int
    outside: int
    count: int

    def __str__(self) -> str:
        """Return the line as the kernel reads it."""
        return f"{self.inside} {self.outside} {self.count}\n"


@dataclass(frozen=True, slots=True)
class IdMaps:
    """The uid and gid map of a user namespace."""

    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]
    #: Only a process outside the namespace, with CAP_SETUID and CAP_SETGID, may write these maps.
    from_outside: bool

    def again(self) -> IdMaps:
        """Return the maps of a namespace below, in which every id is what it is in this one."""
        uids, gids = (
            tuple(IdRange(line.inside, line.inside, line.count) for line in lines)
            for lines in (self.uids, self.gids)
        )
        return IdMaps(uids=uids, gids=gids, from_outside=self.from_outside)


def single_maps(user: User, uid: int, gid: int) -> IdMaps:
    """Return the one-id maps that any process may give itself."""
    inside_uid, inside_gid = (0, 0) if user is User.ROOT else (uid, gid)
    return IdMaps(
        uids=(IdRange(inside_uid, uid, 1),),
        gids=(IdRange(inside_gid, gid, 1),),
        from_outside=False,
    )


def identity_maps() -> IdMaps:
    """Return maps of every id that this process's own user namespace has, to itself."""
    return IdMaps(uids=_own_ids("uid_map"), gids=_own_ids("gid_map"), from_outside=True)


def _own_ids(name: str) -> tuple[IdRange, ...]:
    with open(f"/proc/self/{name}", encoding="utf-8") as lines:
        rows = [[int(field) for field in line.split()] for line in lines]
    return tuple(IdRange(inside, inside, count) for inside, _, count in rows)


def write_maps(maps: IdMaps, pid: int | str) -> None:
    """Write *maps* for the user namespace of *pid* (or "self")."""
    if not maps.from_outside:
        # Without CAP_SETGID in the parent namespace a gid map needs this first (CVE-2014-8989).
        _write(f"/proc/{pid}/setgroups", "deny")
    _write(f"/proc/{pid}/uid_map", "".join(map(str, maps.uids)))
    _write(f"/proc/{pid}/gid_map", "".join(map(str, maps.gids)))


def _write(path: str, text: str) -> None:
    # One write(2): the kernel takes a map in a single call only.
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("ascii"))
    except OSError as error:
        raise OSError(error.errno, f"write: {error.strerror}", path) from None
    finally:
        os.close(fd)
