"""Where the mounts of a plan are carried out, and nothing is decided.

One exception: where the kernel refuses what was planned, some mounts have a lesser form. It never
lets more out than was planned, and it is always told: `execute` returns a `Shortfall`.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING
from typing import Final
from typing import assert_never
from typing import final

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.features import Part
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.mounts import attach
from pytest_isolate.sandbox.mounts import copies
from pytest_isolate.sandbox.mounts import limits
from pytest_isolate.sandbox.mounts import stores
from pytest_isolate.sandbox.mounts.inroot import NewRoot
from pytest_isolate.sandbox.mounts.overlay import Layers
from pytest_isolate.sandbox.mounts.overlay import mount_overlay
from pytest_isolate.sandbox.mounts.overlay import top_directory
from pytest_isolate.sandbox.mounts.proc import ProcMounts
from pytest_isolate.sandbox.mounts.values import Bind
from pytest_isolate.sandbox.mounts.values import Copy
from pytest_isolate.sandbox.mounts.values import Device
from pytest_isolate.sandbox.mounts.values import DevPts
from pytest_isolate.sandbox.mounts.values import Directory
from pytest_isolate.sandbox.mounts.values import File
from pytest_isolate.sandbox.mounts.values import Limits
from pytest_isolate.sandbox.mounts.values import Mask
from pytest_isolate.sandbox.mounts.values import Mqueue
from pytest_isolate.sandbox.mounts.values import Overlay
from pytest_isolate.sandbox.mounts.values import Own
from pytest_isolate.sandbox.mounts.values import Proc
from pytest_isolate.sandbox.mounts.values import ReadOnly
from pytest_isolate.sandbox.mounts.values import Symlink
from pytest_isolate.sandbox.mounts.values import Sysfs
from pytest_isolate.sandbox.mounts.values import Tmpfs
from pytest_isolate.sandbox.shortfalls import Form
from pytest_isolate.sandbox.shortfalls import Shortfalls

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence

    from pytest_isolate.sandbox.cgroups.shown import Shown
    from pytest_isolate.sandbox.mounts.values import Mount
    from pytest_isolate.sandbox.shortfalls import Shortfall

_OTHER_CALLS: Final = frozenset({"openat2", "mount_setattr"})
#: What of a sandbox is missing if a mount of a kind fails; of all others it is the mounts.
_PARTS: Final[Mapping[type[object], Part]] = {
    Overlay: Part.OVERLAY,
    Proc: Part.PROC,
    Sysfs: Part.SYSFS,
    DevPts: Part.DEVPTS,
}
#: `mountinfo.KEPT` as the kernel is told of them.
_FLAGS: Final = {
    "noatime": libc.MS_NOATIME,
    "nodev": libc.MS_NODEV,
    "nodiratime": libc.MS_NODIRATIME,
    "noexec": libc.MS_NOEXEC,
    "nosuid": libc.MS_NOSUID,
    "nosymfollow": libc.MS_NOSYMFOLLOW,
    "strictatime": libc.MS_STRICTATIME,
}


def execute(
    plan: Sequence[Mount],
    newroot: str,
    layers: str,
    *,
    userns: bool,
    pids_of: int | None = None,
    store: str = "",
    groups: Shown | None = None,
) -> tuple[Shortfall, ...]:
    """Carry out *plan* in order below *newroot*; return in what ways it is less than planned.

    *layers* is a directory of the sandbox's own for the upper layers of overlays: they get
    numbers, so one call with overlays is all it can serve. *userns* says that this is not the
    machine's own root. *pids_of* is a process whose PID namespace a proc is to show (Linux 6.18),
    if it is not the caller's. *store* is for what is to be the sandbox's own, and *groups* are its
    control groups, see `limits`. Raise `SandboxError` that names what was being done.
    """
    umask = os.umask(0)
    root = NewRoot(newroot)
    try:
        executor = _Executor(
            root, layers, userns=userns, pids_of=pids_of, store=store, groups=groups
        )
        if userns and any(isinstance(mount, Overlay) for mount in plan):
            executor.check_marks()
        for mount in plan:
            try:
                executor.do(mount)
            except OSError as error:
                if not _is_gone(mount):
                    raise _failed(mount, error) from None
        return executor.shortfalls.all()
    finally:
        root.close()
        os.umask(umask)


def _is_gone(mount: Mount) -> bool:
    """Return whether the host has removed meanwhile what it may remove."""
    match mount:
        case (
            Overlay(lower=source, optional=True)
            | Bind(source=source, optional=True)
            | Copy(source=source, optional=True)
        ):
            return not os.path.lexists(source)
        case _:
            return False


def _failed(mount: Mount, error: OSError) -> SandboxError:
    code = error.errno or 0
    why = os.strerror(code) if code else str(error)
    # A mount takes more calls than mount(2), and a filter may refuse any.
    call = (error.strerror or "").partition(": ")[0]
    if call in _OTHER_CALLS:
        why = f"{call}: {why}"
    part = _PARTS.get(type(mount), Part.MNT)
    return SandboxError(mount.describe(), why, code=code, part=part)


@final
class _Executor:
    def __init__(
        self,
        root: NewRoot,
        layers: str,
        *,
        userns: bool,
        pids_of: int | None,
        store: str,
        groups: Shown | None,
    ) -> None:
        self.shortfalls: Final = Shortfalls()
        self._root: Final = root
        self._layers: Final = layers
        self._store: Final = store
        self._groups: Final = groups
        self._userns: Final = userns
        self._proc: Final = ProcMounts(root, self.shortfalls, userns=userns, pids_of=pids_of)
        self._count = 0

    def check_marks(self) -> None:
        """Tell it if overlayfs has no place for its marks."""
        try:
            os.setxattr(self._layers, "user.overlay", b"")
        except OSError as error:
            self.shortfalls.add_refused(
                Form.LASTING_DIRECTORIES, "of the host", Part.OVERLAY, error, refused="attributes"
            )

    def do(self, mount: Mount) -> None:  # noqa: C901, PLR0912  # one line a kind of mount
        match mount:
            case Directory():
                self._directory(mount)
            case Symlink():
                self._root.link(mount.target, mount.to)
            case File():
                self._file(mount)
            case Tmpfs():
                self._tmpfs(mount)
            case Device():
                self._device(mount)
            case Bind():
                self._bind(mount)
            case Copy():
                self._copy(mount)
            case Overlay():
                self._overlay(mount)
            case Own():
                stores.show(self._root, mount, self._store, userns=self._userns)
            case Proc():
                self._proc.mount(mount)
            case Sysfs():
                self._sysfs(mount)
            case DevPts():
                self._devpts(mount)
            case Mqueue():
                attach.fresh(self._root, "mqueue", mount.target)
            case Limits():
                self._limits(mount)
            case ReadOnly():
                self._proc.lock(mount)
            case Mask():
                self._proc.mask(mount)
            case _:
                assert_never(mount)

    def _directory(self, mount: Directory) -> None:
        if mount.target == "/":
            os.chmod(self._root.find("/"), mount.mode)
            self._root.mounted("/", empty=True)
            return
        place = self._root.make(mount.target, directory=True, mode=mount.mode)
        if mount.owner is not None:
            os.chown(place, *mount.owner)
            # mkdir(2) ignores bits for set-ID, and inherits one.
            os.chmod(place, mount.mode)

    def _file(self, mount: File) -> None:
        data = mount.text.encode("utf-8", "surrogateescape")
        if self._root.is_own(mount.target):
            _write(self._root.make(mount.target, directory=False), data)
            return
        # Bound over the root's own file: in a user namespace that could not be written to.
        source = self._layer(f"file{mount.target.replace('/', '-')}")
        _write(source, data)
        place = self._root.make(mount.target, directory=False)
        libc.mount(source, place, None, libc.MS_BIND)

    def _tmpfs(self, mount: Tmpfs) -> None:
        size = "" if mount.size is None else f",size={mount.size}"
        flags = 0 if mount.devices else libc.MS_NODEV
        attach.fresh(self._root, "tmpfs", mount.target, flags, f"mode={mount.mode:o}{size}")

    def _device(self, mount: Device) -> None:
        if not self._userns:
            try:
                os.mknod(self._root.new(mount.target), stat.S_IFCHR | mount.mode, mount.device)
            except PermissionError:  # without CAP_MKNOD, or by the device cgroup
                pass
            else:
                return
        attach.bind_file(self._root, mount.source, mount.target)

    def _bind(self, mount: Bind) -> None:
        attach.bind(self._root, mount)
        if mount.read_only and mount.lesser:
            self.shortfalls.add(Form.READ_ONLY, mount.target, Part.OVERLAY, mount.lesser)

    def _copy(self, mount: Copy) -> None:
        if why := copies.copy(self._root, mount):
            target, source = mount.target, mount.source
            bind = Bind(target=target, source=source, directory=False, recursive=False, lesser=why)
            self._bind(bind)

    def _overlay(self, mount: Overlay) -> None:
        # Counted whatever becomes of it, so that an upper layer's number is its place in the plan.
        upper, work = self._layer("upper"), self._layer("work")
        self._count += 1
        place = self._root.make(mount.target, directory=True)
        top_directory(upper, mount.lower, mount.mode)
        layers = Layers(lower=mount.lower, upper=upper, work=work)
        try:
            flags = sum(_FLAGS[name] for name in {"nodev", *mount.kept})
            mount_overlay(place, layers, userns=self._userns, flags=flags)
        except OSError as error:
            # A bind of a directory with locked mounts below is refused, unless it has them all.
            self._bind(Bind(target=mount.target, source=mount.lower, recursive=self._userns))
            self.shortfalls.add_refused(Form.READ_ONLY, mount.target, Part.OVERLAY, error)
        self._root.mounted(mount.target, empty=False)

    def _sysfs(self, mount: Sysfs) -> None:
        with limits.kept(self._root, mount.keeps, moves=not self._userns):
            try:
                attach.fresh(self._root, "sysfs", mount.target, libc.MS_RDONLY)
            except PermissionError as error:
                self._bind(Bind(target=mount.target, source="/sys"))
                self.shortfalls.add_refused(Form.HOST_DEVICES, mount.target, Part.SYSFS, error)

    def _limits(self, mount: Limits) -> None:
        try:
            limits.show(self._root, mount, self._groups, self._layer("limit"))
        except OSError as error:
            limits.cover(self._root, mount)
            self.shortfalls.add_refused(Form.HIDDEN_LIMITS, mount.target, Part.CGROUP, error)

    def _devpts(self, mount: DevPts) -> None:
        gid = "" if mount.gid is None else f",gid={mount.gid}"
        data = f"newinstance,ptmxmode=0666,mode=620{gid}"
        try:
            attach.fresh(self._root, "devpts", mount.target, 0, data)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # devpts belongs to user 0, who is unknown in this user namespace.
            self.shortfalls.add_refused(Form.NO_TERMINALS, mount.target, Part.DEVPTS, error)

    def _layer(self, kind: str) -> str:
        return f"{self._layers}/{self._count}.{kind}"


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
