"""Why a controller cannot be had, in words short enough for the report header, and the fix."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from pytest_isolate.sandbox import remedies
from pytest_isolate.sandbox.errors import SandboxError

if TYPE_CHECKING:
    from pytest_isolate.sandbox.features import Capability


def no_controller(controller: str) -> SandboxError:
    """Return the error for a kernel without *controller*."""
    # Raspberry Pi OS, for one, boots with cgroup_disable=memory.
    fix = "boot with cgroup_enable=memory" if controller == "memory" else ""
    return SandboxError(_what(controller), f"no {controller} controller in this kernel", fix)


def not_mounted(controller: str, version: str) -> SandboxError:
    """Return the error for a hierarchy that exists and is not mounted."""
    kind = "cgroup2 none" if version == "v2" else f"cgroup -o {controller} none"
    fix = f"mount -t {kind} /sys/fs/cgroup"
    return SandboxError(_what(controller), f"no cgroup {version} mount for {controller}", fix)


def not_visible(controller: str, group: str, point: str) -> SandboxError:
    """Return the error for a mount that does not show the *group* of this process."""
    return SandboxError(
        _what(controller),
        f"{controller} cgroup of this process not in {point}",
        f"it is {group}: mount the cgroup file system in the cgroup namespace of this process, "
        "docker run --cgroupns=private",
    )


def not_delegated(controller: str, path: str, *, exists: bool) -> SandboxError:
    """Return the error for a v2 group at *path* that was not given *controller*."""
    if not exists:
        return no_controller(controller)
    if not os.access(path, os.W_OK, effective_ids=True):
        return refused(controller, PermissionError(errno.EACCES, "mkdir", path), "v2", path)
    return SandboxError(
        _what(controller),
        f"no delegated {controller} controller",
        "as root: systemctl edit user@.service, add [Service] Delegate=cpu memory pids, "
        "log in again",
    )


def shared(path: str, strangers: list[str]) -> SandboxError:
    """Return the error for a v2 group that other processes are in, which must stay there."""
    some = ", ".join(strangers[:3]) + (", ..." if len(strangers) > 3 else "")  # noqa: PLR2004
    return SandboxError(
        f"cgroup {path}",
        f"cgroup shared with {some}",
        remedies.for_strangers(path, remedies.Signs.read()),
        code=errno.EBUSY,
    )


def refused(controller: str, error: OSError, version: str, path: str) -> SandboxError:
    """Return the error for a group of *controller* that could not be made, used or limited."""
    code = error.errno or 0
    if code in {errno.EACCES, errno.EPERM}:
        why = f"no writable {controller} cgroup"
        fix = remedies.for_delegation(version, path, remedies.Signs.read())
    elif code == errno.EROFS:
        why = f"{controller} cgroup is mounted read-only"
        fix = remedies.for_cgroups(remedies.Signs.read())
    else:
        known = SandboxError.from_os_error(error)
        why, fix = f"{known.what}: {known.why}", ""
    return SandboxError(_what(controller), why, fix, code=code)


def unavailable(capability: Capability) -> SandboxError:
    """Return the error for a cap that was asked for and cannot be had."""
    return SandboxError(
        _what(capability.name), capability.why, capability.fix, code=capability.code
    )


def _what(controller: str) -> str:
    return f"{controller} cap"
