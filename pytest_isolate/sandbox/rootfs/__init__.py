"""Root file systems: from what is asked for and what the host has to a plan of mounts. Pure."""

from __future__ import annotations

from pytest_isolate.sandbox.rootfs.careful import fix_for
from pytest_isolate.sandbox.rootfs.careful import survey
from pytest_isolate.sandbox.rootfs.host import Host
from pytest_isolate.sandbox.rootfs.plan import Plan
from pytest_isolate.sandbox.rootfs.plan import plan_root
from pytest_isolate.sandbox.rootfs.plan import staging_place
from pytest_isolate.sandbox.rootfs.plan import tmpfs_size

__all__ = ["Host", "Plan", "fix_for", "plan_root", "staging_place", "survey", "tmpfs_size"]
