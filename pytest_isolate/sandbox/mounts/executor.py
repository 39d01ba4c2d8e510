"""Where the mounts of a plan are carried out, and nothing is decided.

One exception: where the kernel refuses what was planned, some mounts have a lesser form. It never
lets more out than was planned, and it is always told: `execute` returns a `Shortfall`.
"""

from __future__ import annotations

from dataclasses import replace
import errno
import os
import stat
from typing import TYPE_CHECKING
from typing import Final
from typing import assert_never
from typing import final

from pytest_isolate.sandbox import own
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.features import Part
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.mounts import copies
from pytest_isolate.sandbox.mounts import limits
from pytest_isolate.sandbox.mounts.inroot import NewRoot
from pytest_isolate.sandbox.mounts.overlay import Layers
from pytest_isolate.sandbox.mounts.overlay import mount_overlay
from pytest_isolate.sandbox.mounts.overlay import top_directory
from pytest_isolate.sandbox.mounts.readonly import make_read_only
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
from pytest_isolate.sandbox.shortfalls import Shortfall

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Mapping
    from collections.abc import Sequence

    from pytest_isolate.sandbox.cgroups.shown import Shown
    from pytest_isolate.sandbox.mounts.values import Mount

_WHITEOUT: Final = 0  #: the device number that hides a name of a lower layer
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
        return executor.shortfalls()
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
        #: Where it is less, by how: the keys are without a place.
        self._less: Final[dict[Shortfall, list[str]]] = {}
        self._root: Final = root
        self._layers: Final = layers
        self._store: Final = store
        self._groups: Final = groups
        self._userns: Final = userns
        self._proc_data: Final = "" if pids_of is None else f"pidns=/proc/{pids_of}/ns/pid"
        self._proc_is_foreign = False  #: whether /proc is not one of the sandbox's own, in full
        self._count = 0

    def shortfalls(self) -> tuple[Shortfall, ...]:
        """Return each way in which something is less than planned."""
        return tuple(replace(how, where=tuple(places)) for how, places in self._less.items())

    def check_marks(self) -> None:
        """Tell it if overlayfs has no place for its marks."""
        try:
            os.setxattr(self._layers, "user.overlay", b"")
        except OSError as error:
            self._tell(
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
                self._own(mount)
            case Proc():
                self._proc(mount)
            case Sysfs():
                self._sysfs(mount)
            case DevPts():
                self._devpts(mount)
            case Mqueue():
                self._fresh("mqueue", mount.target)
            case Limits():
                self._limits(mount)
            case ReadOnly():
                self._read_only(mount)
            case Mask():
                self._mask(mount)
            case _:
                assert_never(mount)

    def _fresh(self, fstype: str, target: str, flags: int = 0, data: str = "") -> None:
        place = self._root.make(target, directory=True)
        libc.mount(fstype, place, fstype, flags, data)
        self._root.mounted(target, empty=True)

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
        self._fresh("tmpfs", mount.target, flags, f"mode={mount.mode:o}{size}")

    def _device(self, mount: Device) -> None:
        if not self._userns:
            try:
                os.mknod(self._root.new(mount.target), stat.S_IFCHR | mount.mode, mount.device)
            except PermissionError:  # without CAP_MKNOD, or by the device cgroup
                pass
            else:
                return
        self._bind_file(mount.source, mount.target)

    def _bind_file(self, source: str, target: str) -> None:
        place = self._root.make(target, directory=False)
        libc.mount(source, place, None, libc.MS_BIND)
        # A device can be written to all the same, but its mode belongs to the host.
        make_read_only(self._root.find(target), libc.MOUNT_ATTR_RDONLY, recursive=False)

    def _bind(self, mount: Bind) -> None:
        place = self._root.make(mount.target, directory=mount.directory)
        recursive = libc.MS_REC if mount.recursive else 0
        libc.mount(mount.source, place, None, libc.MS_BIND | recursive)
        self._root.mounted(mount.target, empty=False)
        if mount.read_only:
            attributes = libc.MOUNT_ATTR_RDONLY | libc.MOUNT_ATTR_NODEV
            place = self._root.find(mount.target)
            make_read_only(place, attributes, recursive=mount.recursive)
            if mount.lesser:
                how = Shortfall(form=Form.READ_ONLY, part=Part.OVERLAY, why=mount.lesser)
                self._less.setdefault(how, []).append(mount.target)

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
            self._tell(Form.READ_ONLY, mount.target, Part.OVERLAY, error)
        self._root.mounted(mount.target, empty=False)

    def _own(self, mount: Own) -> None:
        upper, work = own.upper(self._store), own.work(self._store)
        place = self._root.make(mount.target, directory=True)
        top_directory(upper, mount.source)
        source, depth = upper, 0
        if mount.over:
            try:
                # The stores are not to be seen in it.
                os.mknod(f"{upper}/{own.STORES}", stat.S_IFCHR, _WHITEOUT)
                # It is not used again, so there is no need to wait for the disk at its end.
                layers = Layers(lower=mount.source, upper=upper, work=work)
                mount_overlay(place, layers, "volatile", userns=self._userns)
                # Closed by overlayfs, it could not be removed by who owns it and is not root.
                os.chmod(f"{work}/work", 0o700)
                source = ""
            except OSError:
                source, depth = mount.source, libc.MS_REC
        if source:
            libc.mount(source, place, None, libc.MS_BIND | depth)
        self._root.mounted(mount.target, empty=False)

    def _proc(self, mount: Proc) -> None:
        """Mount a proc, or what comes nearest to it.

        In a user namespace the kernel refuses one where the caller's own is partly covered, as a
        container's is: what is covered would be uncovered. One without it may do (Linux 7.2).
        """
        if self._proc_is_foreign:
            return  # there is nothing that a nested sandbox could go by
        refusal: PermissionError | None = None
        for form, flags, data in self._forms(mount):
            try:
                self._fresh("proc", mount.target, flags, data)
            except PermissionError as error:
                refusal = refusal or error
            else:
                self._proc_is_foreign = form is Form.PROCESSES_ALONE
                if form is not None and refusal is not None:
                    self._tell(form, mount.target, Part.PROC, refusal)
                return
        if refusal is not None:
            if not self._userns:
                raise refusal
            self._bind(Bind(target=mount.target, source="/proc", recursive=True))
            self._proc_is_foreign = True
            self._tell(Form.HOST_PROCESSES, mount.target, Part.PROC, refusal)

    def _forms(self, mount: Proc) -> Iterator[tuple[Form | None, int, str]]:
        """Yield what to try in turn: what it lacks, flags and data."""
        if not mount.read_only:
            yield None, 0, self._proc_data
        # Inside another sandbox only a read-only one may be mounted anew.
        yield None if mount.read_only else Form.READ_ONLY, libc.MS_RDONLY, self._proc_data
        if self._userns:
            yield Form.PROCESSES_ALONE, 0, "subset=pid"

    def _sysfs(self, mount: Sysfs) -> None:
        with limits.kept(self._root, mount.keeps, moves=not self._userns):
            try:
                self._fresh("sysfs", mount.target, libc.MS_RDONLY)
            except PermissionError as error:
                self._bind(Bind(target=mount.target, source="/sys"))
                self._tell(Form.HOST_DEVICES, mount.target, Part.SYSFS, error)

    def _limits(self, mount: Limits) -> None:
        try:
            limits.show(self._root, mount, self._groups, self._layer("limit"))
        except OSError as error:
            limits.cover(self._root, mount)
            self._tell(Form.HIDDEN_LIMITS, mount.target, Part.CGROUP, error)

    def _devpts(self, mount: DevPts) -> None:
        gid = "" if mount.gid is None else f",gid={mount.gid}"
        data = f"newinstance,ptmxmode=0666,mode=620{gid}"
        try:
            self._fresh("devpts", mount.target, 0, data)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            # devpts belongs to user 0, who is unknown in this user namespace.
            self._tell(Form.NO_TERMINALS, mount.target, Part.DEVPTS, error)

    def _mask(self, mount: Mask) -> None:
        if not (self._proc_is_foreign and self._is_out_of_reach(mount.target)):
            self._bind_file("/dev/null", mount.target)

    def _read_only(self, mount: ReadOnly) -> None:
        if self._proc_is_foreign and self._is_out_of_reach(mount.target):
            return
        place = self._root.find(mount.target)
        libc.mount(place, place, None, libc.MS_BIND)
        place = self._root.find(mount.target)
        make_read_only(place, libc.MOUNT_ATTR_RDONLY, recursive=False)

    def _is_out_of_reach(self, target: str) -> bool:
        """Return whether *target* is not there, or read-only as it is."""
        try:
            flags = os.statvfs(self._root.find(target)).f_flag
        except FileNotFoundError:
            return True
        return bool(flags & os.ST_RDONLY)

    def _layer(self, kind: str) -> str:
        return f"{self._layers}/{self._count}.{kind}"

    def _tell(
        self, form: Form, target: str, part: Part, error: OSError, *, refused: str = ""
    ) -> None:
        how = Shortfall(form=form, part=part, refused=refused or part, code=error.errno or 0)
        self._less.setdefault(how, []).append(target)


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
