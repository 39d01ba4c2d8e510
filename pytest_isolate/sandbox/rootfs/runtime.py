"""The directories of /run, empty: daemons want theirs, and have it made at boot."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.mounts.values import Directory
from pytest_isolate.sandbox.rootfs.copy_on_write import shown_mode
from pytest_isolate.sandbox.rootfs.host import Kind
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import HostRoot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_isolate.sandbox.rootfs.host import Host
    from pytest_isolate.sandbox.rootfs.host import Node
    from pytest_isolate.sandbox.spec import Root

_RUN: Final = "/run"
_LOCKS_MODE: Final = 0o1777
#: As far down as packages have directories made, see tmpfiles.d(5).
_DEPTH: Final = 2
_MOST: Final = 64
#: Without what is in them. That systemd runs the machine is asked of `systemd/system`, see
#: sd_booted(3), and none does here; the names in the others tell of secrets, users and disks.
_WITHOUT_CONTENT: Final = frozenset({
    "credentials",
    "keys",
    "media",
    "mount",
    "secrets",
    "systemd",
    "udev",
    "user",
})


def plan(root: Root, host: Host) -> Iterator[Directory]:
    """Yield the directories that /run has, on the host or in a root directory of its own."""
    found: dict[str, Directory] = {}
    for directory in (*_of_everybody(host), *_of_root(root, host)):
        found.setdefault(directory.target, directory)
    yield from found.values()


def _of_everybody(host: Host) -> Iterator[Directory]:
    if host.files.node("/run/lock") is not None:
        yield Directory(target="/run/lock", mode=_LOCKS_MODE)
    if host.files.node(f"/run/user/{host.uid}") is not None:  # XDG_RUNTIME_DIR
        yield Directory(target="/run/user")
        yield Directory(target=f"/run/user/{host.uid}", mode=0o700)


def _of_root(root: Root, host: Host) -> Iterator[Directory]:
    match root:
        case HostRoot():
            yield from _below("", host)
        case DirectoryRoot(path):
            yield from _below(host.files.real(path), host)
        case _:
            return


def _below(top: str, host: Host) -> Iterator[Directory]:
    """Yield the directories of `/run` in *top*, those that are higher up first; links are none."""
    foreign = {mount.target for mount in host.mounts if mount.fstype != "tmpfs"}
    open_ = deque([(_RUN, 0)])
    count = 0
    while open_:
        above, depth = open_.popleft()
        for name in host.files.names(top + above):
            path = f"{above}/{name}"
            # Not even looked at: what is mounted there may be a server that does not answer.
            node = None if top + path in foreign else host.files.node(top + path)
            if node is None or node.kind is not Kind.DIRECTORY or name.startswith("."):
                continue
            if count == _MOST:
                return
            count += 1
            yield _like(path, node, host)
            if depth + 1 < _DEPTH and name not in _WITHOUT_CONTENT:
                open_.append((path, depth + 1))


def _like(path: str, node: Node, host: Host) -> Directory:
    if host.privileged:
        return Directory(target=path, mode=node.mode, owner=(node.uid, node.gid))
    # It will be the caller's, who is to do no more there than on the host.
    return Directory(target=path, mode=shown_mode(node))
