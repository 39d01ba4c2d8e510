"""The mounts that a process sees: /proc/self/mountinfo, see proc_pid_mountinfo(5)."""

from __future__ import annotations

from dataclasses import dataclass
import os
from typing import Final

from pytest_isolate.sandbox.linux import procfs

#: File systems that show the kernel, not files: a sandbox has its own or none.
KERNEL_FILE_SYSTEMS: Final = frozenset({
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nfsd",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sysfs",
    "tracefs",
})

#: What of a mount holds for whatever stands in for it. `relatime` is the kernel's default, and its
#: contrary has no word in the table.
KEPT: Final = ("noatime", "nodev", "nodiratime", "noexec", "nosuid", "nosymfollow", "strictatime")
_TIMES: Final = frozenset({b"noatime", b"relatime"})
_DELETED: Final = "//deleted"
_OUTSIDE: Final = -1  #: stands for every parent that is not in the table


@dataclass(frozen=True, slots=True, kw_only=True)
class MountPoint:
    """One line of mountinfo."""

    id: int
    parent: int
    root: str  #: which directory or file of the file system is mounted
    target: str  #: where, as seen from the process's root
    read_only: bool  #: the mount or the file system is
    fstype: str
    kept: tuple[str, ...] = ()  #: its options that are in `KEPT`
    options: tuple[str, ...] = ()  #: the file system's own

    @property
    def is_real(self) -> bool:
        """Whether there are files here that a program may own, and not the kernel's."""
        return self.fstype not in KERNEL_FILE_SYSTEMS


def current() -> tuple[MountPoint, ...]:
    """Return the mounts of this process's namespace that lie below its root."""
    return of("self")


def of(pid: int | str) -> tuple[MountPoint, ...]:
    """Return the mounts that process *pid* sees below its root."""
    return parse(procfs.read(f"{pid}/mountinfo"))


def parse(table: bytes) -> tuple[MountPoint, ...]:
    """Return the mounts of *table* in its order, but for those whose place was deleted."""
    mounts = (_parse_line(line.split(b" ")) for line in table.split(b"\n") if line)
    return tuple(mount for mount in mounts if not mount.target.endswith(_DELETED))


def _parse_line(fields: list[bytes]) -> MountPoint:
    # The optional fields before the lone hyphen vary in number.
    fstype, _, super_options = fields[fields.index(b"-", 6) + 1 :][:3]
    own = fields[5].split(b",")
    options = super_options.split(b",")
    if not _TIMES.intersection(own):
        own.append(b"strictatime")
    return MountPoint(
        id=int(fields[0]),
        parent=int(fields[1]),
        root=_unescape(fields[3]),
        target=_unescape(fields[4]),
        read_only=b"ro" in own or b"ro" in options,
        fstype=fstype.decode("ascii", "replace"),
        kept=tuple(name for name in KEPT if name.encode() in own),
        options=tuple(map(os.fsdecode, options)),
    )


def _unescape(field: bytes) -> str:
    r"""Return the path that was written with `\ooo` for blanks, `#` and backslashes."""
    head, *rest = field.split(b"\\")
    path = head + b"".join(bytes((int(part[:3], 8),)) + part[3:] for part in rest)
    return os.fsdecode(path)


def visible(mounts: tuple[MountPoint, ...]) -> tuple[MountPoint, ...]:
    """Return those of *mounts* that a path leads to, by path: no later mount hides them.

    Found as the kernel finds them, by walking each path and stepping on every mount on the way.
    """
    known = {mount.id for mount in mounts}
    on_top = {
        (mount.parent if mount.parent in known else _OUTSIDE, mount.target): mount.id
        for mount in mounts
    }
    seen = (mount for mount in mounts if _walk(mount.target, on_top) == mount.id)
    return tuple(sorted(seen, key=lambda mount: mount.target))


def holding(path: str, mounts: tuple[MountPoint, ...]) -> MountPoint | None:
    """Return which of *mounts* the file at *path*, without symbolic links, lies on."""
    found = {mount.target: mount for mount in visible(mounts)}
    while path not in found and path != "/":
        path = path[: path.rfind("/")] or "/"
    return found.get(path)


def _walk(path: str, on_top: dict[tuple[int, str], int]) -> int:
    here = _step_on(_OUTSIDE, "/", on_top)
    end = path.find("/", 1)
    while end != -1:
        here = _step_on(here, path[:end], on_top)
        end = path.find("/", end + 1)
    return here if path == "/" else _step_on(here, path, on_top)


def _step_on(here: int, path: str, on_top: dict[tuple[int, str], int]) -> int:
    while (here, path) in on_top:
        here = on_top[here, path]
    return here
