"""What is put back: paths of the host that a sandbox's root does not show by itself.

A checkout or a virtual environment under /tmp, the interpreter in a foreign root, and what the
user wants written through to the host. All are found at their own path inside.
"""

from __future__ import annotations

from dataclasses import dataclass
import enum
import os
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.mounts.values import Bind
from pytest_isolate.sandbox.mounts.values import Directory
from pytest_isolate.sandbox.mounts.values import Overlay
from pytest_isolate.sandbox.mounts.values import Own
from pytest_isolate.sandbox.mounts.values import Symlink
from pytest_isolate.sandbox.mounts.values import Tmpfs
from pytest_isolate.sandbox.rootfs import careful
from pytest_isolate.sandbox.rootfs import etc
from pytest_isolate.sandbox.rootfs.copy_on_write import Trees
from pytest_isolate.sandbox.rootfs.copy_on_write import is_below
from pytest_isolate.sandbox.rootfs.copy_on_write import is_below_any
from pytest_isolate.sandbox.rootfs.host import CAN_WRITE
from pytest_isolate.sandbox.rootfs.host import Kind
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import HostRoot
from pytest_isolate.sandbox.spec import MinimalRoot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_isolate.sandbox.mounts.values import Mount
    from pytest_isolate.sandbox.rootfs.host import Host
    from pytest_isolate.sandbox.rootfs.host import Node
    from pytest_isolate.sandbox.spec import Spec

_MAX_LINKS: Final = 40


class _Need(enum.IntEnum):
    """How much of a path is needed; more covers less."""

    IMPORT = enum.auto()  #: to read
    PROJECT = enum.auto()  #: to read, and to write to where the root can be written to
    WRITABLE = enum.auto()  #: written through to the host
    OWN = enum.auto()  #: one of the sandbox's own; what is needed of the host's lies on it


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class HostPaths:
    """The mounts that put paths back."""

    below: tuple[Mount, ...]  #: what the sandbox's own mounts lie on
    above: tuple[Mount, ...]  #: what lies on them


def plan(
    spec: Spec,
    host: Host,
    *,
    base: tuple[Mount, ...],
    covered: tuple[str, ...],
    libraries: tuple[str, ...],
) -> HostPaths:
    """Return what to mount on the root *base*, whose *covered* directories are the sandbox's own.

    Raise `SandboxError` if a writable path does not exist. Other paths that do not are dropped:
    an import path may name directories that nobody made.
    """
    planner = _Planner(spec, host, base, covered)
    for path in spec.imports:
        careful.require(host, path, f"show the interpreter's {path}")
    for path in spec.project:
        careful.require(host, path, f"show the project's {path}")
    for path in (*spec.writable, *((spec.own,) * bool(spec.own))):
        careful.require(host, path, f"keep {path} writable")
    for path in (*libraries, *spec.imports):
        planner.need(path, _Need.IMPORT)
    for path in spec.project:
        planner.need(path, _Need.PROJECT)
    for path in spec.writable:
        if host.files.node(path) is None:
            raise SandboxError(f"keep {path} writable", "no such file or directory", "create it")
        planner.need(path, _Need.WRITABLE)
    if spec.own:
        planner.need(spec.own, _Need.OWN)
    planner.need_home()
    for path in etc.led_away(spec, host):
        planner.lead(path)
    return planner.result()


@final
class _Planner:
    def __init__(
        self, spec: Spec, host: Host, base: tuple[Mount, ...], covered: tuple[str, ...]
    ) -> None:
        self._root: Final = spec.root
        self._host: Final = host
        self._covered: Final = covered
        self._own_over: Final = spec.own_over
        self._overlays: Final = {mount.target for mount in base if isinstance(mount, Overlay)}
        self._made: Final = {mount.target for mount in base if isinstance(mount, Directory)}
        self._needs: Final[dict[str, _Need]] = {}
        self._links: Final[list[Mount]] = []
        self._led: Final[dict[str, Mount]] = {}

    def need(self, path: str, need: _Need) -> None:
        path = os.path.normpath(path)
        real = self._host.files.real(path)
        if self._host.files.node(real) is None:
            return
        if isinstance(self._root, DirectoryRoot):
            # Its links are not the host's: `/lib` may be a directory there.
            self._want(path, need)
        else:
            self._links.extend(self._links_on(path))
        self._want(real, need)

    def need_home(self) -> None:
        home = self._host.files.real(self._host.home)
        is_directory = self._host.files.node(home) is not None and home not in self._covered
        if isinstance(self._root, HostRoot) and is_directory:
            self._want(home, _Need.PROJECT)

    def lead(self, path: str) -> None:
        """Put back the file that the link *path* of the root leads to, as long as it is there."""
        real = self._host.files.real(path)
        self._links.extend(self._links_on(path))
        self._led[real] = Bind(
            target=real, source=real, directory=False, recursive=False, optional=True
        )

    def result(self) -> HostPaths:
        below: list[Mount] = []
        above: list[Mount] = []
        for path, need in sorted(self._needs.items()):
            if any(_Need.OWN > self._needs[other] >= need for other in self._above(path)):
                continue
            inside = tuple(top for top in self._covered if top != path and is_below(top, path))
            (below if inside else above).extend(self._mounts(path, need, inside))
        led = (bind for path, bind in self._led.items() if not any(self._above(path)))
        return HostPaths(below=tuple(below), above=(*above, *self._links, *led))

    def _want(self, path: str, need: _Need) -> None:
        if need < _Need.WRITABLE and isinstance(self._root, HostRoot):
            if not is_below_any(path, self._covered) and not self._is_stuck(path):
                return
            need = _Need.PROJECT
        self._needs[path] = max(need, self._needs.get(path, need))

    def _above(self, path: str) -> Iterator[str]:
        return (other for other in self._needs if other != path and is_below(path, other))

    def _mounts(self, path: str, need: _Need, covered: tuple[str, ...]) -> tuple[Mount, ...]:
        source = self._host.files.real(path)
        node = self._host.files.node(source)
        is_directory = node is not None and node.kind is Kind.DIRECTORY
        if need is _Need.OWN:
            return (Own(target=path, source=source, over=self._own_over),)
        if need is _Need.PROJECT and not isinstance(self._root, MinimalRoot):
            return Trees(self._host, covered).copy(source, path)
        if need is _Need.IMPORT and not is_directory and self._has_its_own(path):
            return ()
        bind = Bind(
            target=path,
            source=source,
            directory=is_directory,
            read_only=need is not _Need.WRITABLE,
            recursive=is_directory,
        )
        return (bind, *self._over_silent(bind))

    def _over_silent(self, bind: Bind) -> Iterator[Mount]:
        """Yield what covers the mounts that do not answer and that come along with *bind*."""
        for mount in self._host.silent:
            if mount.directory and is_below(mount.target, bind.source):
                place = bind.target.rstrip("/") + mount.target[len(bind.source.rstrip("/")) :]
                yield Tmpfs(target=place, mode=0o555)

    def _has_its_own(self, path: str) -> bool:
        """Return whether the root has a file *path*: a program of its own is not to be covered."""
        root = self._root
        return isinstance(root, DirectoryRoot) and bool(self._host.files.node(root.path + path))

    def _is_stuck(self, path: str) -> bool:
        """Return whether the caller could write to *path*, and not through the overlay above it.

        To write to a file, overlayfs copies the directories above it up as well, with their
        owners; in a user namespace that is EOVERFLOW for an owner that is not mapped.
        """
        if self._host.privileged or not self._overlays or path in self._made:
            return False
        node = self._host.files.node(path)
        if node is None or not node.access & CAN_WRITE:
            return False
        while path not in self._overlays:
            if path == "/" or node is None or self._is_foreign(node):
                return path != "/"
            path = path[: path.rfind("/")] or "/"
            node = self._host.files.node(path)
        return False

    def _is_foreign(self, node: Node) -> bool:
        return (node.uid, node.gid) != (self._host.uid, self._host.gid)

    def _links_on(self, path: str) -> Iterator[Mount]:
        """Return the symbolic links that *path* leads over and that the root does not have."""
        for _ in range(_MAX_LINKS):
            found = self._first_link(path)
            if found is None:
                return
            link, to = found
            if isinstance(self._root, MinimalRoot) or is_below_any(link, self._covered):
                yield Symlink(target=link, to=to)
            rest = path[len(link) :]
            path = os.path.normpath(os.path.join(os.path.dirname(link), to) + rest)

    def _first_link(self, path: str) -> tuple[str, str] | None:
        end = path.find("/", 1)
        while True:
            part = path if end == -1 else path[:end]
            node = self._host.files.node(part)
            if node is not None and node.kind is Kind.SYMLINK:
                return part, node.to
            if end == -1:
                return None
            end = path.find("/", end + 1)
