"""Places to mount on that a root directory lacks, where its owner is not the caller.

To make a file, overlayfs first copies the directories above it, with their owners: in a user
namespace that is refused for an owner that is not mapped. The top directory of an overlay is the
caller's own, so one is mounted wherever something has to be made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_isolate.sandbox.mounts.values import Directory
from pytest_isolate.sandbox.mounts.values import File
from pytest_isolate.sandbox.mounts.values import Overlay
from pytest_isolate.sandbox.mounts.values import Symlink
from pytest_isolate.sandbox.rootfs import inside
from pytest_isolate.sandbox.rootfs.copy_on_write import Trees
from pytest_isolate.sandbox.rootfs.copy_on_write import is_below_any
from pytest_isolate.sandbox.spec import DirectoryRoot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_isolate.sandbox.mounts.values import Mount
    from pytest_isolate.sandbox.rootfs.host import Host
    from pytest_isolate.sandbox.spec import Spec


def plan(
    spec: Spec,
    host: Host,
    *,
    base: Iterable[Mount],
    above: tuple[Mount, ...],
    covered: tuple[str, ...],
) -> tuple[Mount, ...]:
    """Return what to mount on the root *base* so that all of *above* can be made there."""
    if host.privileged or not isinstance(spec.root, DirectoryRoot):
        return ()
    top = host.files.real(spec.root.path).rstrip("/")
    tops = {mount.target for mount in base if isinstance(mount, Overlay | Directory)}
    own = tuple(m.target for m in above if not isinstance(m, Directory | File | Symlink))
    places = set()
    for mount in above:
        place = inside.find(host.files, top, mount.target)
        others = (*covered, *(target for target in own if target != mount.target))
        if not place.missing or is_below_any(place.path, others):
            continue  # it is there, or will be made on something of the sandbox's own
        if _is_stuck(host, top, place.path, tops):
            places.add(place.path)
    trees = Trees(host, covered)
    return tuple(one for place in sorted(places) for one in trees.copy(top + place, place))


def _is_stuck(host: Host, top: str, path: str, tops: set[str]) -> bool:
    """Return whether *path*, or a directory above it in its overlay, is not the caller's."""
    while path not in tops and path != "/":
        node = host.files.node(top + path)
        if node is None or (node.uid, node.gid) != (host.uid, host.gid):
            return True
        path = path[: path.rfind("/")] or "/"
    return False
