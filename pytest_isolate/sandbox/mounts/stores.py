"""A directory of the sandbox's own, from its store on the host's disk, see `sandbox.own`."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox import own
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.mounts.overlay import Layers
from pytest_isolate.sandbox.mounts.overlay import mount_overlay
from pytest_isolate.sandbox.mounts.overlay import top_directory

if TYPE_CHECKING:
    from pytest_isolate.sandbox.mounts.inroot import NewRoot
    from pytest_isolate.sandbox.mounts.values import Own

_WHITEOUT: Final = 0  #: the device number that hides a name of a lower layer


def show(root: NewRoot, mount: Own, store: str, *, userns: bool) -> None:
    """Mount what *store* has, over what the host has if *mount* says so; raise `OSError`."""
    upper, work = own.upper(store), own.work(store)
    place = root.make(mount.target, directory=True)
    top_directory(upper, mount.source)
    source, depth = upper, 0
    if mount.over:
        try:
            # The stores are not to be seen in it.
            os.mknod(f"{upper}/{own.STORES}", stat.S_IFCHR, _WHITEOUT)
            # It is not used again, so there is no need to wait for the disk at its end.
            layers = Layers(lower=mount.source, upper=upper, work=work)
            mount_overlay(place, layers, "volatile", userns=userns)
            # Closed by overlayfs, it could not be removed by who owns it and is not root.
            os.chmod(f"{work}/work", 0o700)
            source = ""
        except OSError:
            source, depth = mount.source, libc.MS_REC
    if source:
        libc.mount(source, place, None, libc.MS_BIND | depth)
    root.mounted(mount.target, empty=False)
