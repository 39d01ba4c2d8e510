"""Paths as they lead inside a root, whose symbolic links are its own and not the host's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from typing import Final
from typing import NamedTuple

from pytest_isolate.sandbox.rootfs.host import Kind

if TYPE_CHECKING:
    from pytest_isolate.sandbox.rootfs.host import Files

_MAX_LINKS: Final = 40  # as the kernel's own limit, see path_resolution(7)


class Place(NamedTuple):
    """Where a path leads, as far as it is there."""

    path: str  #: inside, without links; of what is missing, the directory that it would be made in
    missing: bool


def find(files: Files, top: str, path: str) -> Place:
    """Return where *path* leads in the root that is the host's directory *top* ("" for `/`)."""
    place = ""
    parts = path.split("/")[::-1]
    links = 0
    while parts:
        part = parts.pop()
        if part in {"", "."}:
            continue
        if part == "..":
            place = place[: place.rfind("/")] if place else ""
            continue
        node = files.node(f"{top}{place}/{part}")
        if node is None:
            return Place(place or "/", missing=True)
        if node.kind is not Kind.SYMLINK:
            place = f"{place}/{part}"
            continue
        links += 1
        if links > _MAX_LINKS:
            return Place(place or "/", missing=True)
        place = "" if os.path.isabs(node.to) else place
        parts += node.to.split("/")[::-1]
    return Place(place or "/", missing=False)
