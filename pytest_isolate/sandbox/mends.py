"""What to do where a kernel, a container or a hosted runner refuses: one line an environment.

The symptoms are those of the field's issue trackers; the files read here are the ones that tell
the environments apart.
"""

from __future__ import annotations

import errno
import os
from typing import Final

_DOCKER: Final = (
    "run the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
    " --security-opt systempaths=unconfined, or with --privileged"
)
_PODMAN: Final = "run the container with --security-opt unmask=ALL, or with --privileged"
_KUBERNETES: Final = (
    "set securityContext: seccompProfile Unconfined, appArmorProfile Unconfined,"
    " procMount Unmasked, and hostUsers: false"
)


def for_namespaces(code: int) -> str:
    """Return the mend for namespaces or mounts refused with errno *code*, or ""."""
    if code == errno.ENOSPC:
        return "raise the limit: sudo sysctl -w user.max_user_namespaces=15000"
    if code not in {errno.EPERM, errno.EACCES, errno.ENOSYS}:
        return ""
    if os.path.exists("/run/.containerenv"):
        return _PODMAN
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        return _KUBERNETES
    if os.path.exists("/.dockerenv"):
        return _DOCKER
    return _for_sysctls()


def _for_sysctls() -> str:
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return "sudo sysctl -w kernel.unprivileged_userns_clone=1"
    if _in_chroot():
        return "run outside the chroot: the kernel refuses user namespaces inside one"
    return ""


def _in_chroot() -> bool:
    try:
        return not os.path.samefile("/", "/proc/1/root")
    except OSError:  # only root may look there
        return False


def _sysctl(name: str) -> str:
    try:
        with open(f"/proc/sys/{name}", encoding="ascii") as value:
            return value.read().strip()
    except OSError:
        return ""
