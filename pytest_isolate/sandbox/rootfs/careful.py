"""A look at files that never goes to a mount that does not answer."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
import os
from typing import TYPE_CHECKING
from typing import Final
from typing import final

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.sandbox.mounts import silent
from pytest_isolate.sandbox.rootfs.host import Disk
from pytest_isolate.sandbox.rootfs.host import Host
from pytest_isolate.sandbox.rootfs.host import Kind
from pytest_isolate.sandbox.rootfs.host import Node

if TYPE_CHECKING:
    from pytest_isolate.sandbox.mounts.silent import Silent
    from pytest_isolate.sandbox.rootfs.host import Files

_MAX_LINKS: Final = 40


@final
class Careful:
    """The files of *files*, but for those on *silent* mounts: their places are `Kind.SILENT`."""

    def __init__(self, files: Files, silent: tuple[Silent, ...]) -> None:
        self._files = files
        self._silent = silent

    def node(self, path: str) -> Node | None:
        """Return what lies at *path*, or `None` if nothing does or it cannot be reached."""
        place = self._above(path)
        mount = self._mount(place)
        if mount is None:
            return self._files.node(place)
        return Node(kind=Kind.SILENT) if place == mount.target and mount.directory else None

    def names(self, path: str) -> tuple[str, ...]:
        """Return the names in a directory, sorted; none if it cannot be listed."""
        real = self.real(path)
        return () if self._mount(real) is not None else self._files.names(real)

    def text(self, path: str) -> str | None:
        """Return what a file says, or `None` if there is none that can be read."""
        real = self.real(path)
        return None if self._mount(real) is not None else self._files.text(real)

    def real(self, path: str) -> str:
        """Return *path* without symbolic links, as far as that can be told."""
        done, todo, links = "/", path.strip("/").split("/"), 0
        while todo:
            part = todo.pop(0)
            done = os.path.normpath(os.path.join(done, part))
            if self._mount(done) is not None:
                return os.path.normpath(os.path.join(done, *todo))
            node = self._files.node(done)
            if node is not None and node.kind is Kind.SYMLINK and links < _MAX_LINKS:
                links += 1
                todo[:0] = node.to.split("/")
                done = "/" if node.to.startswith("/") else os.path.dirname(done)
        return done

    def _above(self, path: str) -> str:
        """Return *path* with its directory real; what it is itself is left."""
        above, name = os.path.split(os.path.normpath(path))
        return os.path.join(self.real(above), name) if name else "/"

    def _mount(self, path: str) -> Silent | None:
        return next((mount for mount in self._silent if mount.holds(path)), None)


def survey(*, privileged: bool) -> Host:
    """Return this machine as it is now, without what lies on mounts that do not answer."""
    host = Host.survey(privileged=privileged)
    return without_silent(host, silent.find(host.mounts))


def without_silent(host: Host, mounts: tuple[Silent, ...]) -> Host:
    """Return *host* as it is to be looked at while *mounts* do not answer."""
    return replace(host, files=Careful(host.files, mounts), silent=mounts) if mounts else host


def refusal(path: str) -> str:
    """Return why a process that is to go on must not look at *path*, or ""."""
    found = _silent_now()
    if not found:
        return ""
    real = Careful(Disk(), found).real(path)
    for mount in found:
        if mount.holds(real):
            return f"{mount} does not answer; {fix_for((mount,))}"
    return ""


def is_silent(path: str) -> bool:
    """Return whether *path*, which is no link, lies on a mount that does not answer."""
    return any(mount.holds(path) for mount in _silent_now())


@cache
def _silent_now() -> tuple[Silent, ...]:
    return silent.find(mountinfo.current())


def require(host: Host, path: str, what: str) -> None:
    """Raise `SandboxError` that says *what* cannot be done if *path* does not answer."""
    if not host.silent:
        return
    real = host.files.real(path)
    for mount in host.silent:
        if mount.holds(real):
            raise SandboxError(what, f"{mount} does not answer", fix_for((mount,)))


def fix_for(mounts: tuple[Silent, ...]) -> str:
    """Return what to do about *mounts* that do not answer."""
    targets = " ".join(mount.target for mount in mounts)
    return f"see to who serves it, or take it off: umount -l {targets}"
