"""Trees of the host, copy on write: which overlays and binds show one inside.

As the machine's root, one overlay for each real mount point. In a user namespace an overlay of a
directory with mounts below it is refused (what they cover would be seen), so such a directory is
made anew and its entries are taken one by one. A plain file among them that the caller may write to
is copied, for no overlay can be had of a file; where that is too much it is read-only, and told.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.sandbox.mounts.values import Bind
from pytest_isolate.sandbox.mounts.values import Copy
from pytest_isolate.sandbox.mounts.values import Directory
from pytest_isolate.sandbox.mounts.values import Overlay
from pytest_isolate.sandbox.mounts.values import Symlink
from pytest_isolate.sandbox.mounts.values import Tmpfs
from pytest_isolate.sandbox.rootfs.host import CAN_ENTER
from pytest_isolate.sandbox.rootfs.host import Host
from pytest_isolate.sandbox.rootfs.host import Kind
from pytest_isolate.sandbox.rootfs.host import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_isolate.sandbox.linux.mountinfo import MountPoint
    from pytest_isolate.sandbox.mounts.values import Mount

_NOTHING_MODE: Final = 0o555


#: Each sandbox has copies of its own, made while another test runs: of this many files, of this
#: many bytes together, and of none that is larger.
_MOST_COPIES: Final = 256
_COPIED: Final = 16 << 20
_LARGEST_COPY: Final = 4 << 20
_TOO_LARGE: Final = "no overlay beside a mount, and too large to copy"
_RUNNABLE: Final = "no overlay beside a mount, and a copy would not be noexec"


def is_below(path: str, top: str) -> bool:
    """Return whether *path* is *top* or lies below it."""
    return path == top or path.startswith(f"{top.rstrip('/')}/")


def is_below_any(path: str, tops: tuple[str, ...]) -> bool:
    """Return whether *path* is one of *tops* or lies below one."""
    return any(is_below(path, top) for top in tops)


@final
class Trees:
    """The host's trees, but for what the sandbox covers with something of its own."""

    def __init__(self, host: Host, covered: tuple[str, ...]) -> None:
        self._files = host.files
        self._privileged = host.privileged
        self._covered = covered
        self._mounts = host.mounts
        self._visible = {mount.target: mount for mount in mountinfo.visible(host.mounts)}
        self._copies = 0
        self._copied = 0  #: bytes

    def copy(self, source: str, target: str) -> tuple[Mount, ...]:
        """Return the mounts that show the host's *source* at *target*, copy on write.

        What lies below *source* now and is gone when they are made, is left out then.
        """
        node = self._files.node(source)
        if node is None:
            return ()
        if node.kind is Kind.SILENT:
            return (_nothing(target),)
        if node.kind is not Kind.DIRECTORY:
            return (_file(source, target),)
        if self._privileged:
            mounts = self._per_mount(source, target)
        else:
            mounts = self._per_directory(source, target, node)
        return tuple(_optional(mount) if mount.target != target else mount for mount in mounts)

    def _per_mount(self, source: str, target: str) -> Iterator[Mount]:
        if target != "/" and self._is_read_only(source):
            yield Bind(target=target, source=source, recursive=False)
        else:
            yield Overlay(target=target, lower=source, kept=self._kept(source, target))
        for mount in self._visible.values():
            place = target.rstrip("/") + mount.target[len(source.rstrip("/")) :]
            is_inside = mount.target != source and is_below(mount.target, source)
            if is_inside and mount.is_real and not is_below_any(place, self._covered):
                yield from self._mount_point(mount, place)

    def _mount_point(self, mount: MountPoint, target: str) -> Iterator[Mount]:
        node = self._files.node(mount.target)
        if node is None:
            return
        if node.kind is Kind.SILENT:
            yield _nothing(target)
        elif node.kind is not Kind.DIRECTORY:
            yield _file(mount.target, target)
        elif mount.read_only:
            yield Bind(target=target, source=mount.target, recursive=False)
        else:
            yield Overlay(target=target, lower=mount.target, kept=mount.kept)

    def _per_directory(self, source: str, target: str, node: Node) -> Iterator[Mount]:
        mount = self._visible.get(source)
        if not node.access & CAN_ENTER or (mount is not None and not mount.is_real):
            yield Directory(target=target, mode=0 if target != "/" else 0o755)
        elif any(m.target != source and is_below(m.target, source) for m in self._mounts):
            yield Directory(target=target, mode=shown_mode(node))
            for name in self._files.names(source):
                yield from self._entry(
                    f"{source.rstrip('/')}/{name}", f"{target.rstrip('/')}/{name}"
                )
        elif self._is_read_only(source):
            yield Bind(target=target, source=source)
        else:
            kept = self._kept(source, target)
            yield Overlay(target=target, lower=source, mode=shown_mode(node), kept=kept)

    def _entry(self, source: str, target: str) -> Iterator[Mount]:
        node = self._files.node(source)
        if node is None or is_below_any(target, self._covered):
            return
        if node.kind is Kind.DIRECTORY:
            yield from self._per_directory(source, target, node)
        elif node.kind is Kind.SYMLINK:
            yield Symlink(target=target, to=node.to)
        elif node.writable:
            yield self._copy(source, target, node)
        elif node.kind is Kind.SILENT:
            yield _nothing(target)
        else:
            yield _file(source, target)

    def _copy(self, source: str, target: str, node: Node) -> Mount:
        if "noexec" in self._kept(source, target):
            return replace(_file(source, target), lesser=_RUNNABLE)
        is_small = node.size <= _LARGEST_COPY and self._copied + node.size <= _COPIED
        if self._copies >= _MOST_COPIES or not is_small:
            return replace(_file(source, target), lesser=_TOO_LARGE)
        self._copies += 1
        self._copied += node.size
        return Copy(target=target, source=source, size_limit=_LARGEST_COPY)

    def _is_read_only(self, path: str) -> bool:
        mount = self._holding(path)
        return mount is not None and mount.target != "/" and mount.read_only

    def _kept(self, source: str, target: str) -> tuple[str, ...]:
        """Return what an overlay has of the mount that *source* lies on.

        A root directory is not seen where it lies: what may be done there is no matter inside.
        """
        mount = self._holding(source)
        return () if mount is None or (target == "/" != source) else mount.kept

    def _holding(self, path: str) -> MountPoint | None:
        while path not in self._visible and path != "/":
            path = path[: path.rfind("/")] or "/"
        return self._visible.get(path)


def _optional(mount: Mount) -> Mount:
    return replace(mount, optional=True) if isinstance(mount, Overlay | Bind | Copy) else mount


def _join(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}"


def _file(source: str, target: str) -> Bind:
    return Bind(target=target, source=source, directory=False, recursive=False)


def _nothing(target: str) -> Tmpfs:
    """Return an empty directory: what lies below a mount is not to be taken for its files."""
    return Tmpfs(target=target, mode=_NOTHING_MODE)


def shown_mode(node: Node) -> int:
    """Return the mode of a directory that the caller will own, so that no more can be done there.

    The top of an overlay belongs to who mounts it: the owner's bits are what the caller's were.
    """
    return node.mode & 0o1077 | node.access << 6
