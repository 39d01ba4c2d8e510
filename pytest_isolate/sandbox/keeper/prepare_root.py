"""The steps that put a root together and enter it, the same whoever takes them."""

from __future__ import annotations

from contextlib import suppress
import errno
import os
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.sandbox import mounts
from pytest_isolate.sandbox import remedies
from pytest_isolate.sandbox.attached import Kind
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.errors import step
from pytest_isolate.sandbox.features import Part
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.linux import loopback
from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.sandbox.mounts.readonly import make_read_only
from pytest_isolate.sandbox.shortfalls import Form
from pytest_isolate.sandbox.shortfalls import Shortfall
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_isolate.sandbox.keeper.build_plan import BuildPlan
    from pytest_isolate.sandbox.spec import Spec

#: What a filter, or a kernel without the call, answers.
_NOT_ALLOWED: Final = frozenset({errno.EPERM, errno.EACCES, errno.ENOSYS})
#: File systems in which user 0 changes the kernel's settings.
_KERNELS_KNOBS: Final = frozenset({"proc", "sysfs"})
#: What writing to a masked /proc/sys, or one that is not there, answers.
_READ_ONLY: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT})


def lay_out(plan: BuildPlan, *, userns: bool) -> tuple[Shortfall, ...]:
    """Mount what of the plan needs no namespace but the mounts' own; return what is less of it.

    *userns* says that this is done in a user namespace, and not as the machine's root.
    """
    with step(part=Part.MNT):
        libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
        size = f",size={plan.staging_size}" if plan.staging_size else ""
        libc.mount("isolate", plan.staging, "tmpfs", libc.MS_NODEV, f"mode=0755{size}")
        os.mkdir(plan.newroot, 0o755)
        os.mkdir(plan.layers, 0o700)
        if not userns:
            _make_mount_point(plan)
    return mounts.execute(
        plan.root.outer,
        plan.newroot,
        plan.layers,
        userns=userns,
        store=plan.store,
        groups=plan.groups,
    )


def open_layers(plan: BuildPlan) -> dict[str, int]:
    """Return descriptors of the directories that take what is written, if it may be looked at.

    They are named as in `attached`; no path leads to the upper layers from inside. One that is not
    surveyed, but may run out of memory, has only those. To be called between `lay_out` and
    `enter_root`.
    """
    if not plan.spec.surveyed and plan.spec.limits.memory is None:
        return {}
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    opened: dict[str, int] = {Kind.UPPER: os.open(plan.layers, flags)}
    if not plan.spec.surveyed:
        return opened
    # Below a root directory that anybody wrote, a path may be a link that leads out.
    top = os.open(plan.newroot, flags)
    resolve = libc.RESOLVE_IN_ROOT | libc.RESOLVE_NO_MAGICLINKS
    try:
        for path in plan.fresh:
            opened[Kind.FRESH.name_of(path)] = libc.openat2(top, path, flags, resolve=resolve)
    finally:
        os.close(top)
    return opened


def enter_root(
    plan: BuildPlan, *, userns: bool, pids_of: int | None = None
) -> tuple[Shortfall, ...]:
    """Mount the rest, and make the new root this mount namespace's; the old one is gone.

    *pids_of* is a process in whose PID namespace the sandbox is, if it is not the caller's.
    """
    if userns:
        # Mounts that came from another user namespace are locked, and a locked mount cannot
        # become the root; the top of a fresh recursive bind is not locked.
        with step(part=Part.MNT):
            _make_mount_point(plan)
    less = mounts.execute(
        plan.root.inner, plan.newroot, plan.layers, userns=userns, pids_of=pids_of
    )
    os.chdir(plan.newroot)
    with step(part=Part.PIVOT_ROOT):
        return (*less, *_change_root(plan.spec))


def set_host_name(plan: BuildPlan) -> None:
    """Give the current UTS namespace, the sandbox's, its name, if it is to have one of its own."""
    if plan.spec.hostname is not None:
        with step(part=Part.HOSTNAME):
            libc.sethostname(plan.spec.hostname)


def set_up_network(plan: BuildPlan, *, userns: bool) -> tuple[Shortfall, ...]:
    """Make the current network namespace, the sandbox's, its own to use; return what is less.

    To be called before `enter_root`, after which the kernel's settings are read-only.
    """
    if plan.spec.network is Network.HOST:
        return ()
    if plan.spec.network is Network.LOOPBACK:
        with step(part=Part.NET):
            loopback.loopback_up()
    refused = _give_network(plan, "/proc")
    if refused and not userns:
        # As containers have it without `--privileged`; but their root may mount another one.
        proc = f"{plan.staging}/proc"
        os.mkdir(proc)
        libc.mount("proc", proc, "proc")
        refused = _give_network(plan, proc)
        libc.umount2(proc, libc.MNT_DETACH)
    if not refused:
        return ()
    return (Shortfall(form=Form.NETWORK_OF_ROOT, part=Part.NET, refused="setting", code=refused),)


def _give_network(plan: BuildPlan, proc: str) -> int:
    """Let everybody inside use the network, by *proc*; return 0, or the errno of a refusal."""
    gids = plan.maps.gids
    first = min(ids.inside for ids in gids)
    last = max(ids.inside + ids.count - 1 for ids in gids)
    try:
        loopback.give_to_everybody(first, last, proc)
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        return error.errno
    return 0


def _change_root(spec: Spec) -> tuple[Shortfall, ...]:
    """Make the current directory, a mount point, the root; return in what way it is less so."""
    try:
        libc.pivot_root(".", ".")
    except OSError as error:
        less = _cover_root(spec, error)
    else:
        libc.umount2(".", libc.MNT_DETACH)
        less = ()
    os.chdir("/")
    return less


def _cover_root(spec: Spec, refused: OSError) -> tuple[Shortfall, ...]:
    """Move the new root over the old one, as where pivot_root(2) is *refused*.

    Docker's seccomp filter does so even with CAP_SYS_ADMIN. `..` of the new root is the new root,
    and only who may unmount it sees the old one again: `User.ROOT` may, and is refused.
    """
    if refused.errno not in _NOT_ALLOWED:
        raise refused
    if spec.user is User.ROOT:
        fix = remedies.for_namespaces(refused.errno, remedies.Signs.read())
        what = "pivot_root, which user root needs"
        raise SandboxError.from_os_error(refused, what, fix, part=Part.PIVOT_ROOT)
    with step("change root by chroot", Part.PIVOT_ROOT):
        _strip_root()
        libc.mount(".", "/", None, libc.MS_MOVE)
        os.chroot(".")
    return (
        Shortfall(
            form=Form.COVERED_ROOT,
            part=Part.PIVOT_ROOT,
            where=("chroot",),
            refused="pivot_root",
            code=refused.errno,
        ),
    )


def _strip_root() -> None:
    """Unmount what lies on the old root; a proc or sysfs that is locked to it becomes read-only.

    A nested user namespace may mount one as writable as any that its mount namespace has, in sight
    or covered, see mnt_already_visible() in fs/namespace.c.
    """
    new = os.getcwd()
    for mount in reversed(mountinfo.current()):
        if os.path.commonpath((mount.target, new)) in {mount.target, new}:
            continue  # the new root is on it, or it is on the new root
        try:
            libc.umount2(mount.target, libc.MNT_DETACH)
        except OSError:
            if mount.fstype in _KERNELS_KNOBS and not mount.read_only:
                # Out of reach below another locked mount is the proc that an enclosing sandbox has
                # for those in it, as writable as it lets its user be.
                with suppress(FileNotFoundError):
                    make_read_only(mount.target, libc.MOUNT_ATTR_RDONLY, recursive=False)


def is_covered(shortfalls: Iterable[Shortfall]) -> bool:
    """Return whether `enter_root` said that it has covered the old root."""
    return any(one.form is Form.COVERED_ROOT for one in shortfalls)


def _make_mount_point(plan: BuildPlan) -> None:
    """Bind the new root onto itself: only a mount point can become the root."""
    libc.mount(plan.newroot, plan.newroot, None, libc.MS_BIND | libc.MS_REC)
