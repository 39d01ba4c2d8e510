"""What a sandbox is built from: a specification and what this machine makes of it. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_isolate.sandbox.namespaces import IdMaps
    from pytest_isolate.sandbox.rootfs import Plan
    from pytest_isolate.sandbox.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Everything that is needed to build one sandbox."""

    spec: Spec
    plan: Plan
    maps: IdMaps
    staging: str  #: an existing directory that the sandbox's tmpfs may cover
    staging_size: int | None  #: bytes; `None` is the kernel's default, half of the memory

    @property
    def newroot(self) -> str:
        """Where the new root is put together."""
        return f"{self.staging}/root"

    @property
    def layers(self) -> str:
        """Where the upper layers of overlays lie."""
        return f"{self.staging}/layers"
