"""What to do where a kernel, a container or a hosted runner refuses: one line an environment.

The symptoms are those of the field's issue trackers. `Signs` are the files and variables that tell
the environments apart, read in one place; all else here is pure.
"""

from __future__ import annotations

from dataclasses import dataclass
import enum
import errno
import os
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.sandbox.linux import procfs
from pytest_isolate.sandbox.linux import systemd

if TYPE_CHECKING:
    from collections.abc import Mapping


class Environment(enum.StrEnum):
    """Where this process runs, as far as it makes a difference to the fix."""

    PODMAN = "podman"
    KUBERNETES = "Kubernetes"
    GITHUB_CONTAINER = "GitHub Actions, container"
    GITLAB = "GitLab, Docker executor"
    DOCKER = "Docker"
    LIMIT = "no user namespaces allowed (user.max_user_namespaces=0)"
    APPARMOR = "AppArmor restricts user namespaces (Ubuntu 23.10 and later)"
    CLONE = "no user namespaces for users (kernel.unprivileged_userns_clone=0)"
    CHROOT = "chroot"
    SECCOMP = "seccomp filter"
    FAKED = "fakeroot or its like"
    PLAIN = "no container"


#: What makes namespaces and mounts possible, by where they are refused.
FOR_NAMESPACES: Final[Mapping[Environment, str]] = {
    Environment.PODMAN: "podman run --privileged",
    Environment.KUBERNETES: (
        "securityContext: {seccompProfile: {type: Unconfined},"
        " appArmorProfile: {type: Unconfined}, procMount: Unmasked} and hostUsers: false,"
        " or securityContext: {privileged: true}"
    ),
    Environment.GITHUB_CONTAINER: "container: {options: --privileged}",
    Environment.GITLAB: (
        "in the runner's config.toml, [runners.docker]:"
        ' security_opt = ["seccomp:unconfined", "apparmor:unconfined"], or privileged = true'
    ),
    Environment.DOCKER: (
        "docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
        " --security-opt systempaths=unconfined, or docker run --privileged"
    ),
    Environment.LIMIT: "sudo sysctl -w user.max_user_namespaces=15000",
    Environment.APPARMOR: "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    Environment.CLONE: "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    Environment.CHROOT: "run outside the chroot: the kernel refuses user namespaces inside one",
    Environment.SECCOMP: (
        "run without the seccomp filter that this process is under: it answers for the kernel"
    ),
    Environment.FAKED: (
        'run outside fakeroot and its like; user "root" is a real user 0 inside the sandbox'
    ),
}
#: What a kernel or a filter that does not want to answers; others tell of something else.
_REFUSALS: Final = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS})
#: A sandbox inside one of root's has a read-only proc, which takes no id maps.
_FOR_DEPTH: Final = (
    "/proc is read-only, as in a sandbox inside a sandbox of root's:"
    " nest one less deep, or run as an ordinary user"
)
#: What is loaded before all else and answers for the kernel who a process is, or where.
_PRETENDERS: Final[Mapping[str, str]] = {
    "libfakeroot": "fakeroot",
    "libfakechroot": "fakechroot",
    "libpseudo": "pseudo",
}
#: What lets a proc of the sandbox's own be mounted, where the container's is masked.
FOR_PROC: Final[Mapping[Environment, str]] = {
    Environment.PODMAN: "podman run --security-opt unmask=ALL",
    Environment.KUBERNETES: "securityContext: {procMount: Unmasked} and hostUsers: false",
    Environment.GITHUB_CONTAINER: "container: {options: --privileged}",
    Environment.GITLAB: "in the runner's config.toml, [runners.docker]: privileged = true",
    Environment.DOCKER: "docker run --security-opt systempaths=unconfined",
}
#: What lets a host name be set, where namespaces can be had.
FOR_HOSTNAME: Final[Mapping[Environment, str]] = {
    Environment.PODMAN: "podman run --cap-add SYS_ADMIN",
}
#: What makes a container's cgroups writable, for the caps.
FOR_CGROUPS: Final[Mapping[Environment, str]] = {
    Environment.PODMAN: (
        "podman run --security-opt unmask=/sys/fs/cgroup, or podman run --privileged"
    ),
    Environment.KUBERNETES: "securityContext: {privileged: true}",
    Environment.GITHUB_CONTAINER: "container: {options: --privileged}",
    Environment.GITLAB: "in the runner's config.toml, [runners.docker]: privileged = true",
    Environment.DOCKER: (
        "docker run --security-opt writable-cgroups=true, or docker run --privileged"
    ),
}
#: Where cgroup v2 is mounted, by convention.
_CGROUPS: Final = "/sys/fs/cgroup"
#: On the machine that the container runs on.
_ON_HOST: Final = frozenset({Environment.LIMIT, Environment.APPARMOR, Environment.CLONE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """What tells one environment from another."""

    variables: frozenset[str] = frozenset()  #: names in the environment
    podman: bool = False  #: /run/.containerenv is there
    docker: bool = False  #: /.dockerenv is there
    chroot: bool = False  #: the root is not that of PID 1
    filtered: bool = False  #: a seccomp filter is on
    apparmor: str = ""  #: kernel.apparmor_restrict_unprivileged_userns
    clone: str = ""  #: kernel.unprivileged_userns_clone
    limit: str = ""  #: user.max_user_namespaces
    uid: int = 0  #: whose process this is
    faked: str = ""  #: what pretends that it is another's
    systemd: bool = False  #: it runs this machine
    manager: bool = False  #: and there is one for the user

    @classmethod
    def read(cls) -> Signs:
        """Return those of this process."""
        return cls(
            variables=frozenset(os.environ),
            podman=os.path.exists("/run/.containerenv"),
            docker=os.path.exists("/.dockerenv"),
            chroot=_in_chroot(),
            filtered=_seccomp_mode() == "2",
            apparmor=_line("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            clone=_line("/proc/sys/kernel/unprivileged_userns_clone"),
            limit=_line("/proc/sys/user/max_user_namespaces"),
            uid=os.geteuid(),
            faked=_pretender(),
            systemd=systemd.is_here(),
            manager=systemd.has_user_manager(),
        )

    def container(self) -> Environment | None:
        """Return the container that this process is in, or `None`."""
        if self.podman:
            return Environment.PODMAN
        if "KUBERNETES_SERVICE_HOST" in self.variables:
            return Environment.KUBERNETES
        if not self.docker:
            return None
        if "GITHUB_ACTIONS" in self.variables:
            return Environment.GITHUB_CONTAINER
        return Environment.GITLAB if "GITLAB_CI" in self.variables else Environment.DOCKER

    def environment(self) -> Environment:
        """Return where this process runs: what refuses namespaces here, if anything does."""
        container = self.container()
        refusals = (
            (bool(self.faked), Environment.FAKED),
            (self.limit == "0", Environment.LIMIT),
            # A container's own filter comes first: the kernel never hears of what it refuses.
            (self.filtered and container is not None, container),
            (self.apparmor == "1", Environment.APPARMOR),
            (self.clone == "0", Environment.CLONE),
            (self.chroot, Environment.CHROOT),
            (container is not None, container),
            (self.filtered, Environment.SECCOMP),
        )
        return next((place for is_so, place in refusals if is_so and place), Environment.PLAIN)


def for_namespaces(code: int, signs: Signs) -> str:
    """Return the fix for namespaces or mounts refused with errno *code*, or ""."""
    if code == errno.ENOSPC:
        environment = Environment.LIMIT
    elif code in _REFUSALS:
        environment = signs.environment()
    elif code == errno.EROFS:
        return _FOR_DEPTH
    else:
        return ""
    fix = FOR_NAMESPACES.get(environment, "")
    if environment in _ON_HOST and signs.container() is not None and signs.filtered:
        return f"on the container's host: {fix}"
    return fix


def in_chroot() -> SandboxError:
    """Return what the kernel says of a user namespace inside a chroot."""
    code = errno.EPERM
    fix = FOR_NAMESPACES[Environment.CHROOT]
    return SandboxError("make user namespace", os.strerror(code), fix, code=code)


def pretended() -> SandboxError | None:
    """Return why there is no sandbox of a process that something pretends another's, if it does.

    What it asks the kernel, it is told by a server, which is out of reach in a sandbox.
    """
    name = _pretender()
    if not name:
        return None
    why = f"{name} answers for the kernel, and would not in a sandbox"
    fix = FOR_NAMESPACES[Environment.FAKED]
    return SandboxError("make user namespace", why, fix, code=errno.EPERM)


def for_proc(code: int, signs: Signs) -> str:
    """Return the fix for a proc that was refused with errno *code*, or ""."""
    return _in_container(FOR_PROC, signs) if code in _REFUSALS else ""


def for_hostname(code: int, signs: Signs) -> str:
    """Return the fix for a host name that was refused with errno *code*, or ""."""
    if code not in _REFUSALS:
        return ""
    return _in_container(FOR_HOSTNAME, signs) or FOR_NAMESPACES.get(signs.environment(), "")


def for_cgroups(signs: Signs) -> str:
    """Return the fix for cgroups that are mounted read-only, or ""."""
    fix = _in_container(FOR_CGROUPS, signs)
    # What an engine makes writable belongs to the container's root.
    return f"as root in the container: {fix}" if fix and signs.uid else fix


def for_delegation(version: str, path: str, signs: Signs) -> str:
    """Return the fix for a cgroup of *version* at *path* that its user may not write to."""
    if version == "v1":
        # systemd does not delegate v1 hierarchies (systemd.resource-control(5), Delegate=).
        return f"as root, with the shell's PID: {_give(f'{path}/uid{signs.uid}', signs.uid)}"
    if signs.container() is not None:
        return for_cgroups(signs)
    if signs.systemd:
        return _for_scope(signs)
    give = _give(f"{_CGROUPS}/uid{signs.uid}", signs.uid)
    enable = f"echo +memory +pids +cpu > {_CGROUPS}/cgroup.subtree_control"
    # Whoever else is in the group, the shell that starts pytest too, is in the way.
    return f"as root, with the shell's PID: {enable}; {give}; then in the shell: exec pytest ..."


def for_strangers(path: str, signs: Signs) -> str:
    """Return the fix for a v2 cgroup at *path* with processes in it that must not be moved."""
    if signs.systemd:
        return f"give pytest a cgroup of its own: {_for_scope(signs)}"
    first = "make pytest the container's first process: exec pytest ..."
    if not path.startswith(_CGROUPS):  # a mount of our own, where nobody else could move them
        return first
    # Not ours to do: they are somebody's. A group with limited groups below takes no processes.
    return (
        f"{first}, or move the others away: g={path}; mkdir $g/others $g/tests;"
        " xargs -n 1 < $g/cgroup.procs > $g/others/cgroup.procs || :;"
        " echo +memory +pids +cpu > $g/cgroup.subtree_control;"
        " echo $$ > $g/tests/cgroup.procs; exec pytest ..."
    )


def _for_scope(signs: Signs) -> str:
    if signs.uid == 0:
        return "systemd-run --scope -p Delegate=yes pytest ..."
    if signs.manager:
        return "systemd-run --user --scope -p Delegate=yes pytest ..."
    # A service's process, as on a hosted runner, has no manager, where a login starts one.
    return "sudo systemctl start user@$(id -u).service"


def _give(group: str, uid: int) -> str:
    return f"mkdir {group}; chown -R {uid} {group}; echo PID > {group}/cgroup.procs"


def _in_container(fixes: Mapping[Environment, str], signs: Signs) -> str:
    container = signs.container()
    return "" if container is None else fixes.get(container, "")


def _in_chroot() -> bool:
    try:
        return not os.path.samefile("/", "/proc/1/root")
    except OSError:  # not everybody may look there
        pass
    try:
        # Only what lies below the root is shown, and a mere directory is no mount.
        return all(mount.target != "/" for mount in mountinfo.current())
    except OSError:
        return False


def _pretender() -> str:
    preloaded = os.environ.get("LD_PRELOAD", "")
    for library, name in _PRETENDERS.items():
        if library in preloaded:
            return name
    # The kernel's own word: real, effective, saved.
    uids = _status("Uid")
    is_true = len(uids) < 2 or uids[1] == str(os.geteuid())  # noqa: PLR2004  # the effective one
    return "" if is_true else "something (proot, or a library that is preloaded)"


def _seccomp_mode() -> str:
    return next(iter(_status("Seccomp")), "")


def _status(name: str) -> list[str]:
    """Return the values of the line *name* of this process's status."""
    try:
        return procfs.fields_of("self/status").get(name, "").split()
    except OSError:
        return []


def _line(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as value:
            return value.read().strip()
    except OSError:
        return ""
