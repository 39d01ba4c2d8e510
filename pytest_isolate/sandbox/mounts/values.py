"""Mounts as values: what a root file system is made of, in order.

Each says where (*target*, a path inside the new root) and what. `describe` gives it in one line,
which is also how an error names it. `mounts` carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass
import os
from typing import TypeAlias
from typing import final


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """A directory, made if it is missing. As `/`: the plan fills an empty root itself."""

    target: str
    mode: int = 0o755
    owner: tuple[int, int] | None = None  #: user and group, if not those of who makes it

    def describe(self) -> str:
        """Return one line."""
        owner = "" if self.owner is None else ", owner {}:{}".format(*self.owner)
        return f"make directory {self.target} (mode {self.mode:04o}{owner})"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Symlink:
    """A symbolic link, made unless something is there."""

    target: str
    to: str

    def describe(self) -> str:
        """Return one line."""
        return f"make link {self.target} -> {self.to}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of this text, whatever the root has there."""

    target: str
    text: str

    def describe(self) -> str:
        """Return one line."""
        return f"make file {self.target} ({len(self.text)} characters)"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Tmpfs:
    """An empty file system in memory."""

    target: str
    mode: int = 0o755
    size: int | None = None  #: bytes; `None` is the kernel's default, half of the memory
    devices: bool = False  #: device nodes work on it

    def describe(self) -> str:
        """Return one line."""
        size = "" if self.size is None else f", {self.size} bytes"
        return f"mount tmpfs on {self.target} (mode {self.mode:04o}{size})"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device node of the host's. One of our own where possible: `chmod` must not get out."""

    target: str
    source: str
    device: int
    mode: int = 0o666

    def describe(self) -> str:
        """Return one line."""
        major, minor = os.major(self.device), os.minor(self.device)
        return f"make device {self.target} ({major}:{minor})"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """A file or directory of the host's."""

    target: str
    source: str
    directory: bool = True
    read_only: bool = True
    recursive: bool = True  #: what is mounted below it, too
    optional: bool = False  #: left out if the host has removed it since
    lesser: str = ""  #: why it is read-only though the caller may write to it, for a note

    def describe(self) -> str:
        """Return one line."""
        how = "read-only" if self.read_only else "writable"
        return f"mount {self.source} on {self.target} ({how}{', recursive' * self.recursive})"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """A plain file of the host's, copied: for where no overlay can be. A large one is bound."""

    target: str
    source: str
    size_limit: int  #: bytes
    optional: bool = False  #: left out if the host has removed it since

    def describe(self) -> str:
        """Return one line."""
        return f"copy {self.source} to {self.target}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """A directory of the host's, copy on write; without what is mounted below it."""

    target: str
    lower: str
    mode: int | None = None  #: of its top directory; `None` is the lower's, and its owner
    kept: tuple[str, ...] = ()  #: what it has of the mount that it stands for, `mountinfo.KEPT`
    optional: bool = False  #: left out if the host has removed it since

    def describe(self) -> str:
        """Return one line."""
        mode = () if self.mode is None else (f"mode {self.mode:04o}",)
        how = ", ".join((*mode, *self.kept))
        return f"mount overlay on {self.target} over {self.lower}{f' ({how})' * bool(how)}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A directory of the sandbox's own for one of the host's, on the host's disk, see `own`."""

    target: str
    source: str
    over: bool = False  #: what the host has is seen in it, copy on write

    def describe(self) -> str:
        """Return one line."""
        return f"mount one of its own on {self.target}{f' over {self.source}' * self.over}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Proc:
    """The processes of the current PID namespace."""

    target: str
    read_only: bool = False

    def describe(self) -> str:
        """Return one line."""
        return f"mount proc on {self.target}{' (read-only)' * self.read_only}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Sysfs:
    """The devices, with those of the current network namespace, read-only."""

    target: str
    keeps: str = ""  #: a path below it: what is mounted there now will be there afterwards

    def describe(self) -> str:
        """Return one line."""
        return f"mount sysfs on {self.target} (read-only)"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class DevPts:
    """Pseudo-terminals of our own."""

    target: str
    gid: int | None = None  #: the group that owns terminals, if it is mapped

    def describe(self) -> str:
        """Return one line."""
        return f"mount devpts on {self.target}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Mqueue:
    """The POSIX message queues of the current IPC namespace."""

    target: str

    def describe(self) -> str:
        """Return one line."""
        return f"mount mqueue on {self.target}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The sandbox's own control groups and nobody else's, to be read, see `mounts.limits`."""

    target: str
    memory: int | None = None  #: the cap in bytes: what the file of the limit says
    covers: bool = False  #: the machine's groups may be at *target*, and must be out of sight

    def describe(self) -> str:
        """Return one line."""
        return f"mount its own control groups on {self.target} (read-only)"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOnly:
    """What is at *target* already can only be read."""

    target: str

    def describe(self) -> str:
        """Return one line."""
        return f"make {self.target} read-only"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """A file of the kernel's reads as empty."""

    target: str

    def describe(self) -> str:
        """Return one line."""
        return f"mask {self.target}"


Mount: TypeAlias = (
    Directory
    | Symlink
    | File
    | Tmpfs
    | Device
    | Bind
    | Copy
    | Overlay
    | Own
    | Proc
    | Sysfs
    | DevPts
    | Mqueue
    | Limits
    | ReadOnly
    | Mask
)
