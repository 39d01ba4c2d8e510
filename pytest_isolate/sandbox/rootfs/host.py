"""What the planning of a root has to know of the host: a value, and a way to look at files.

Plans are made from a `Host`, so that they can be tested without a machine that looks like it.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import enum
import os
import stat
from typing import TYPE_CHECKING
from typing import Final
from typing import Protocol
from typing import final

from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.sandbox.rootfs.accounts import Accounts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_isolate.sandbox.linux.mountinfo import MountPoint
    from pytest_isolate.sandbox.mounts.silent import Silent

#: Bits of `Node.access`, those of access(2).
CAN_ENTER: Final = os.X_OK
CAN_WRITE: Final = os.W_OK


class Kind(enum.Enum):
    """What lies at a path; links are not followed."""

    DIRECTORY = enum.auto()
    SYMLINK = enum.auto()
    SILENT = enum.auto()  #: a directory that is a mount which does not answer, see `careful`
    OTHER = enum.auto()  #: a file, a device, a socket: what can be bound but not entered


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A path's inode, as lstat(2) and access(2) tell it."""

    kind: Kind
    mode: int = 0o755  #: permission bits
    access: int = 7  #: what the caller may do: 4 read, 2 write, 1 enter
    uid: int = 0
    gid: int = 0
    device: int = 0  #: the device that a device node stands for
    regular: bool = True  #: of `Kind.OTHER`: a file, and no device, socket or pipe
    writable: bool = False  #: a plain file that the caller may write to
    size: int = 0  #: of a plain file, in bytes
    to: str = ""  #: where a symbolic link points


class Files(Protocol):
    """A look at a tree of files."""

    def node(self, path: str) -> Node | None:
        """Return what lies at *path*, or `None` if nothing does or it cannot be reached."""

    def names(self, path: str) -> tuple[str, ...]:
        """Return the names in a directory, sorted; none if it cannot be listed."""

    def real(self, path: str) -> str:
        """Return *path* without symbolic links."""

    def text(self, path: str) -> str | None:
        """Return what a file says, or `None` if there is none that can be read."""


@final
class Disk:
    """The files of this machine."""

    def node(self, path: str) -> Node | None:
        """Return what lies at *path*, or `None` if nothing does or it cannot be reached."""
        try:
            status = os.lstat(path)
            to = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""
        except OSError:
            return None
        is_directory, is_plain = stat.S_ISDIR(status.st_mode), stat.S_ISREG(status.st_mode)
        kind = Kind.SYMLINK if to else Kind.DIRECTORY if is_directory else Kind.OTHER
        return Node(
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            access=sum(bit for bit in (4, 2, 1) if is_directory and os.access(path, bit)),
            uid=status.st_uid,
            gid=status.st_gid,
            device=status.st_rdev,
            regular=is_plain,
            writable=is_plain and os.access(path, os.W_OK),
            size=status.st_size if is_plain else 0,
            to=to,
        )

    def names(self, path: str) -> tuple[str, ...]:
        """Return the names in a directory, sorted; none if it cannot be listed."""
        try:
            return tuple(sorted(os.listdir(path)))
        except OSError:
            return ()

    def real(self, path: str) -> str:
        """Return *path* without symbolic links."""
        return os.path.realpath(path)

    def text(self, path: str) -> str | None:
        """Return what a file says, or `None` if there is none that can be read."""
        node = self.node(path)
        if node is None or not node.regular:
            return None
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
        except OSError:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The machine, or the container, that sandboxes are made on."""

    files: Files
    mounts: tuple[MountPoint, ...] = ()
    silent: tuple[Silent, ...] = ()  #: those that do not answer, and are left out
    privileged: bool  #: mounts are made as the machine's own root
    memory_total: int  #: bytes
    uid: int  #: of the caller
    gid: int
    user: str = "user"  #: the caller's name
    group: str = "group"
    home: str = "/"
    hosts: str = ""  #: the text of /etc/hosts
    accounts: Accounts = field(default_factory=Accounts)

    @classmethod
    def survey(cls, *, privileged: bool) -> Host:
        """Return this machine as it is now."""
        accounts = Accounts.survey()
        return cls(
            files=Disk(),
            mounts=mountinfo.current(),
            privileged=privileged,
            memory_total=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            uid=os.geteuid(),
            gid=os.getegid(),
            user=_name(accounts.users, os.geteuid(), "user"),
            group=_name(accounts.groups, os.getegid(), "group"),
            home=os.environ.get("HOME", "/"),
            hosts=_read("/etc/hosts"),
            accounts=accounts,
        )


def _name(lines: Mapping[int, str], number: int, default: str) -> str:
    return lines[number].split(":")[0] if number in lines else default


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
