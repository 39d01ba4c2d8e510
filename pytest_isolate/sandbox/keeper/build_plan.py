"""What a sandbox is built from: a specification and what this machine makes of it. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_isolate.sandbox.mounts.values import Copy
from pytest_isolate.sandbox.mounts.values import Overlay
from pytest_isolate.sandbox.mounts.values import Tmpfs

if TYPE_CHECKING:
    from pytest_isolate.sandbox.cgroups.shown import Shown
    from pytest_isolate.sandbox.launch.namespaces import IdMaps
    from pytest_isolate.sandbox.rootfs import Plan
    from pytest_isolate.sandbox.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPlan:
    """Everything that is needed to build one sandbox."""

    spec: Spec
    root: Plan
    maps: IdMaps
    staging: str  #: an existing directory that the sandbox's tmpfs may cover
    staging_size: int | None  #: bytes; `None` is the kernel's default, half of the memory
    store: str = ""  #: where what is written to `Spec.own` goes
    groups: Shown | None = None  #: `None`: it is in no group of its own

    @property
    def fresh(self) -> tuple[str, ...]:
        """The paths inside that are empty at first, but for what the plan itself makes there."""
        tops = [mount.target for mount in self.root.outer if isinstance(mount, Tmpfs)]
        has_tree = any(isinstance(m, Overlay) and m.target == "/" for m in self.root.outer)
        return tuple(tops if has_tree else ["/", *tops])

    @property
    def overlaid(self) -> tuple[tuple[str, str], ...]:
        """Path inside and lower directory of each overlay, in the order of the upper layers."""
        return tuple(
            (mount.target, mount.lower) for mount in self.root.outer if isinstance(mount, Overlay)
        )

    @property
    def planned(self) -> tuple[str, ...]:
        """The paths inside that the plan makes or mounts on, and all above them."""
        found = {"/"}
        for mount in (*self.root.outer, *self.root.inner):
            path = mount.target
            if isinstance(mount, Copy):
                path = path[: path.rfind("/")] or "/"
            while path not in found:
                found.add(path)
                path = path[: path.rfind("/")] or "/"
        return tuple(sorted(found))

    @property
    def copied(self) -> tuple[str, ...]:
        """The paths inside of files that are copies of those at the same path outside."""
        return tuple(mount.target for mount in self.root.outer if isinstance(mount, Copy))

    @property
    def newroot(self) -> str:
        """Where the new root is put together."""
        return f"{self.staging}/root"

    @property
    def layers(self) -> str:
        """Where the upper layers of overlays lie."""
        return f"{self.staging}/layers"
