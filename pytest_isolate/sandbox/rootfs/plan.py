"""Root file systems as plans: from a specification and the host to mounts, without effects."""

from __future__ import annotations

from dataclasses import dataclass
import os
from typing import TYPE_CHECKING
from typing import Final
from typing import TypeGuard
from typing import assert_never
from typing import final

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.mounts.values import Bind
from pytest_isolate.sandbox.mounts.values import Copy
from pytest_isolate.sandbox.mounts.values import Device
from pytest_isolate.sandbox.mounts.values import DevPts
from pytest_isolate.sandbox.mounts.values import Directory
from pytest_isolate.sandbox.mounts.values import Limits
from pytest_isolate.sandbox.mounts.values import Mask
from pytest_isolate.sandbox.mounts.values import Mount
from pytest_isolate.sandbox.mounts.values import Mqueue
from pytest_isolate.sandbox.mounts.values import Overlay
from pytest_isolate.sandbox.mounts.values import Own
from pytest_isolate.sandbox.mounts.values import Proc
from pytest_isolate.sandbox.mounts.values import ReadOnly
from pytest_isolate.sandbox.mounts.values import Symlink
from pytest_isolate.sandbox.mounts.values import Sysfs
from pytest_isolate.sandbox.mounts.values import Tmpfs
from pytest_isolate.sandbox.rootfs import careful
from pytest_isolate.sandbox.rootfs import etc
from pytest_isolate.sandbox.rootfs import host_paths
from pytest_isolate.sandbox.rootfs import missing
from pytest_isolate.sandbox.rootfs import runtime
from pytest_isolate.sandbox.rootfs.copy_on_write import Trees
from pytest_isolate.sandbox.rootfs.copy_on_write import is_below
from pytest_isolate.sandbox.rootfs.copy_on_write import is_below_any
from pytest_isolate.sandbox.rootfs.host import CAN_ENTER
from pytest_isolate.sandbox.rootfs.host import Host
from pytest_isolate.sandbox.rootfs.host import Kind
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import HostRoot
from pytest_isolate.sandbox.spec import MinimalRoot
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_isolate.sandbox.mounts.silent import Silent

__all__ = ["Host", "Plan", "plan_root", "staging_place", "tmpfs_size"]

#: What every sandbox has of its own; all but the first three is not empty.
_COVERED: Final = ("/tmp", "/var/tmp", "/run", "/dev", "/proc", "/sys")  # noqa: S108
_SCRATCH: Final = ("/tmp", "/var/tmp")  # noqa: S108
_SCRATCH_MODE: Final = 0o1777

_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty", "fuse", "net/tun")
_DEVICE_LINKS: Final = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/core", "/proc/kcore"),
    ("/dev/ptmx", "pts/ptmx"),
)
_TTY_GROUP: Final = 5  # of every distribution, see MAKEDEV(8)

#: User 0 may write here by the files' modes alone, whatever capabilities it has.
_KNOBS: Final = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")
_SECRETS: Final = ("/proc/kcore", "/proc/keys", "/proc/timer_list")
_GROUPS: Final = "/sys/fs/cgroup"
#: Message queues are mounted over it, so that no path leads there: see `_processes`.
_SPARE_PROC: Final = "/dev/mqueue/proc"

#: Where a dynamic loader finds what the interpreter and its extension modules are linked to.
_LIBRARIES: Final = (
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libx32",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/nix/store",
    "/gnu/store",
)

#: Directories that every host has and few mount anything of their own below.
_STAGING_PLACES: Final = (
    "/run",
    "/tmp",  # noqa: S108
    "/var/tmp",  # noqa: S108
    "/mnt",
    "/media",
    "/srv",
    "/dev/shm",  # noqa: S108
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The mounts of one root file system, by what they need; the inner ones come last.

    What was mounted before the sandbox's user namespace is entered is locked inside, and no
    capability undoes it, see mount_namespaces(7). As the machine's root that is everything. The
    root inside an ordinary user's sandbox may undo the inner ones.
    """

    outer: tuple[Mount, ...]  #: need a mount namespace, and nothing else
    inner: tuple[Mount, ...]  #: need the sandbox's PID, network and IPC namespaces


def plan_root(spec: Spec, host: Host) -> Plan:
    """Return the plan of the root file system that *spec* asks for.

    Raise `SandboxError` if it asks for a root directory or a writable path that is not there.
    """
    base = _base(spec, host)
    libraries = _libraries(spec, host)
    back = host_paths.plan(spec, host, base=base, covered=_COVERED, libraries=libraries)
    own = _fresh(spec, host)
    above = (*back.below, *own, *back.above, *etc.plan(spec, host))
    ground = missing.plan(spec, host, base=base, above=above, covered=_COVERED)
    inner = (*_processes(host), *_devices(spec, host))
    return Plan(outer=(*base, *ground, *above), inner=inner)


def tmpfs_size(spec: Spec, host: Host) -> int | None:
    """Return the size in bytes of a sandbox's tmpfs, `None` for the kernel's default.

    A tmpfs is never smaller than the memory cap: its pages are charged to the same cgroup, so the
    cap decides first.
    """
    cap = spec.memory_cap
    return cap if cap is not None and cap > host.memory_total // 2 else None


def staging_place(plan: Plan, silent: tuple[Silent, ...] = ()) -> str:
    """Return a directory that a tmpfs may cover while *plan* is carried out.

    Nothing that the plan takes from the host lies below it, and it is on none of the *silent*.
    """
    mounts = plan.outer + plan.inner
    sources = [m.lower if isinstance(m, Overlay) else m.source for m in mounts if _takes(m)]
    whole = [m.source for m in mounts if isinstance(m, Bind) and m.recursive]
    places = (p for p in _STAGING_PLACES if not any(mount.holds(p) for mount in silent))
    for place in places:
        is_free = not any(is_below(source, place) for source in sources)
        is_free = is_free and not any(is_below(place, source) for source in whole)
        if is_free and os.path.isdir(place) and not os.path.islink(place):
            return place
    raise SandboxError(
        "find a place for the sandbox's files",
        f"something that the sandbox needs lies below each of {', '.join(_STAGING_PLACES)}",
        "make an empty directory /srv",
    )


def _takes(mount: Mount) -> TypeGuard[Overlay | Own | Bind | Copy | Device]:
    return isinstance(mount, Overlay | Own | Bind | Copy | Device)


def _base(spec: Spec, host: Host) -> tuple[Mount, ...]:
    match spec.root:
        case HostRoot():
            return Trees(host, _COVERED).copy("/", "/")
        case MinimalRoot():
            return (Directory(target="/"),)
        case DirectoryRoot(path):
            careful.require(host, path, f"use {path} as root file system")
            top = host.files.real(path)
            node = host.files.node(top)
            if node is None or node.kind is not Kind.DIRECTORY:
                raise SandboxError(f"use {path} as root file system", "it is not a directory")
            if not node.access & CAN_ENTER:
                fix = f"chmod go+rx {path}, as its owner"
                raise SandboxError(f"use {path} as root file system", "Permission denied", fix)
            return Trees(host, _COVERED).copy(top, "/")
        case _:
            assert_never(spec.root)


def _libraries(spec: Spec, host: Host) -> tuple[str, ...]:
    """Return the host's directories of shared libraries for a root that has none."""
    if not isinstance(spec.root, MinimalRoot):
        return ()
    return tuple(path for path in _LIBRARIES if host.files.node(path) is not None)


def _fresh(spec: Spec, host: Host) -> tuple[Mount, ...]:
    size = tmpfs_size(spec, host)
    scratch = list(_SCRATCH)
    if isinstance(spec.root, HostRoot):
        # A link from one to the other is met on some images.
        scratch = sorted({host.files.real(target) for target in scratch})
    # Without privilege the caller owns them, and is to write there no more than on the host.
    mode = 0o755 if host.privileged else 0o555
    return (
        *(Tmpfs(target=target, mode=_SCRATCH_MODE, size=size) for target in scratch),
        Tmpfs(target="/run", mode=mode, size=size),
        *runtime.plan(spec.root, host),
        *_scratch_directories(spec, host),
        Tmpfs(target="/dev", mode=mode, devices=True),
        *_device_nodes(host),
        *(Symlink(target=target, to=to) for target, to in _DEVICE_LINKS),
        DevPts(target="/dev/pts", gid=_TTY_GROUP if host.privileged else None),
        Tmpfs(target="/dev/shm", mode=_SCRATCH_MODE, size=size),  # noqa: S108
        Directory(target="/dev/mqueue"),
        *_sys(spec, host),
    )


def _sys(spec: Spec, host: Host) -> Iterator[Mount]:
    """Yield the host's devices, and the sandbox's limits, which nobody else's lie below.

    A sysfs of the sandbox's network covers the devices, see `_devices`: but not as root the mounts
    that cannot be left out of a bind then, and which mountinfo would show.
    """
    is_host = spec.network is Network.HOST
    if host.privileged or is_host:
        yield Bind(target="/sys", source="/sys", recursive=is_host)
    if host.files.node(_GROUPS) is not None:
        if not host.privileged and not is_host:
            yield Directory(target=_GROUPS)
        yield Limits(target=_GROUPS, memory=spec.limits.memory, covers=is_host)


def _scratch_directories(spec: Spec, host: Host) -> Iterator[Mount]:
    """Yield the caller's own temporary directories that a fresh one would hide."""
    for path in spec.scratch:
        node = host.files.node(path)
        if node is not None and is_below_any(path, _SCRATCH):
            yield Directory(target=path, mode=node.mode)


def _device_nodes(host: Host) -> Iterator[Mount]:
    for name in _DEVICES:
        path = f"/dev/{name}"
        node = host.files.node(path)
        if node is not None and node.device:
            yield Device(target=path, source=path, device=node.device, mode=node.mode)


def _processes(host: Host) -> tuple[Mount, ...]:
    """Return /proc and what keeps the machine's knobs out of reach.

    The kernel lets a nested sandbox mount a proc of its own only if it can see one already that
    nothing is mounted on, and no more writable than that one. So there is a spare, which a nested
    user namespace sees but no path leads to. For user 0 it is read-only: a writable proc is a
    writable /proc/sys.
    """
    is_user_0 = host.privileged or host.uid == 0
    return (
        Proc(target="/proc"),
        *(ReadOnly(target=path) for path in _KNOBS if host.files.node(path) is not None),
        *(Mask(target=path) for path in _SECRETS if host.files.node(path) is not None),
        Proc(target=_SPARE_PROC, read_only=is_user_0),
    )


def _devices(spec: Spec, host: Host) -> tuple[Mount, ...]:
    sysfs = () if spec.network is Network.HOST else (Sysfs(target="/sys", keeps=_GROUPS),)
    has_mqueue = host.files.node("/proc/sys/fs/mqueue") is not None
    return (*sysfs, *((Mqueue(target="/dev/mqueue"),) if has_mqueue else ()))
