"""From a specification to a build plan: what this machine and this identity allow."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import os
from typing import TYPE_CHECKING
from typing import final

from pytest_isolate.sandbox import rootfs
from pytest_isolate.sandbox.keeper.build_plan import BuildPlan
from pytest_isolate.sandbox.launch import namespaces
from pytest_isolate.sandbox.linux import capabilities
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from pytest_isolate.sandbox.launch.namespaces import IdMaps
    from pytest_isolate.sandbox.spec import Spec


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """What the keeper found out about itself at its start, and the plans made so far."""

    host: rootfs.Host
    machine_root: bool  #: it may mount as the machine's own root does
    maps_all: bool  #: it may map every id of its own user namespace
    _plans: dict[Spec, BuildPlan] = field(default_factory=dict)

    @classmethod
    def survey(cls) -> Planner:
        """Return a planner for the calling process."""
        caps = capabilities.effective()
        machine_root = capabilities.is_machine_root()
        return cls(
            host=rootfs.survey(privileged=machine_root),
            machine_root=machine_root,
            maps_all=capabilities.has(caps, capabilities.CAP_SETUID, capabilities.CAP_SETGID),
        )

    def plan(self, spec: Spec) -> BuildPlan:
        """Return the plan for a sandbox of *spec*; raise `SandboxError` if it makes no sense."""
        if spec not in self._plans:
            root = rootfs.plan_root(spec, self.host)
            self._plans[spec] = BuildPlan(
                spec=spec,
                root=root,
                maps=self._maps(spec.user),
                staging=rootfs.staging_place(root, self.host.silent),
                staging_size=rootfs.tmpfs_size(spec, self.host),
            )
        return self._plans[spec]

    def _maps(self, user: User) -> IdMaps:
        uid, gid = os.geteuid(), os.getegid()
        if self.maps_all and (uid == 0 or user is User.KEEP):
            return namespaces.identity_maps()
        return namespaces.single_maps(user, uid, gid)
