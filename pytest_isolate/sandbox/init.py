"""PID 1 of one sandbox: builds the root, then waits and reaps.

Two processes run this module, both forked from the keeper. The *builder* makes the namespaces and,
as the machine's root, the mounts that need real root; *init*, its child, is the first process of
the PID namespace, finishes the root and stays. The builder leaves as soon as init is born, and the
keeper (a subreaper) inherits init.

Both speak to the keeper by lines of JSON on *report*; the keeper speaks to them by *life*: one
byte means go on, end of file means that the keeper is gone or wants the sandbox gone. The kernel
kills everything in a PID namespace whose init exits, so reading *life* to its end is all the
clean-up that a dead keeper needs.
"""

from __future__ import annotations

from dataclasses import dataclass
import enum
import fcntl
import json
import os
import signal
from typing import TYPE_CHECKING
from typing import Final
from typing import NoReturn

from pytest_isolate.sandbox import _libc
from pytest_isolate.sandbox import mounts
from pytest_isolate.sandbox import namespaces
from pytest_isolate.sandbox import network
from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.errors import step
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Spec

if TYPE_CHECKING:
    from pytest_isolate.sandbox.namespaces import IdMaps
    from pytest_isolate.sandbox.rootfs import Plan

_REPORT_FD: Final = 3
_LIFE_FD: Final = 4


class Stage(enum.StrEnum):
    """How far a sandbox has come, as its builder and init report it."""

    UNSHARED = "unshared"  #: the user namespace waits for its id maps
    BORN = "born"  #: init lives; `pid` in the keeper's PID namespace
    READY = "ready"  #: the root is entered; `notes` on what is less than planned
    FAILED = "failed"  #: `error` is a `SandboxError` as JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Everything that a builder needs to know."""

    spec: Spec
    plan: Plan
    maps: IdMaps
    staging: str  #: an existing directory that the sandbox's tmpfs may cover
    staging_size: int | None  #: bytes; `None` is the kernel's default, half of the memory
    machine_root: bool  #: the mounts of `plan.outer` are made as the machine's own root

    @property
    def newroot(self) -> str:
        """Where the new root is put together."""
        return f"{self.staging}/root"

    @property
    def layers(self) -> str:
        """Where the upper layers of overlays lie."""
        return f"{self.staging}/layers"


def build(order: Order, report: int, life: int) -> NoReturn:
    """Be the builder, in a fresh fork of the keeper; init is a fork of it in turn."""
    try:
        _keep_only(report, life)
        _build(order)
    except OSError as error:
        _fail(SandboxError.from_os_error(error))
    except SandboxError as error:
        _fail(error)
    except BaseException as error:  # noqa: BLE001  # the outermost frame of a forked child
        _fail(SandboxError("make sandbox", repr(error)))
    os._exit(0)


def _build(order: Order) -> None:
    notes: tuple[str, ...] = ()
    if order.machine_root:
        with step("make mount namespace"):
            _libc.unshare(_libc.CLONE_NEWNS)
        notes = _lay_out(order)
    with step("make namespaces"):
        _libc.unshare(namespaces.flags(order.spec))
    if order.maps.from_outside:
        _say(Stage.UNSHARED)
        if not os.read(_LIFE_FD, 1):
            return
    else:
        namespaces.write_maps(order.maps, "self")
    pid = os.fork()
    if pid:
        _say(Stage.BORN, pid=pid)
    else:
        _be_init(order, notes)


def _lay_out(order: Order) -> tuple[str, ...]:
    """Mount the staging tmpfs and what of the plan needs no namespace but the mounts'."""
    _libc.mount(None, "/", None, _libc.MS_REC | _libc.MS_PRIVATE)
    size = f",size={order.staging_size}" if order.staging_size else ""
    _libc.mount("isolate", order.staging, "tmpfs", _libc.MS_NODEV, f"mode=0755{size}")
    os.mkdir(order.newroot, 0o755)
    os.mkdir(order.layers, 0o700)
    return mounts.execute(
        order.plan.outer, order.newroot, order.layers, userns=not order.machine_root
    )


def _be_init(order: Order, notes: tuple[str, ...]) -> NoReturn:
    if not order.machine_root:
        notes = _lay_out(order)
    notes += _enter_root(order)
    _libc.sethostname(order.spec.hostname)
    if order.spec.network is Network.LOOPBACK:
        network.loopback_up()
    # Children of an ignored SIGCHLD are reaped by the kernel, see waitpid(2): no orphan of the
    # test stays a zombie, and PID 1 has nothing to do.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _say(Stage.READY, notes=list(notes))
    os.close(_REPORT_FD)
    while os.read(_LIFE_FD, 1):
        pass
    os._exit(0)


def _enter_root(order: Order) -> tuple[str, ...]:
    """Make the new root this mount namespace's root, and the old one unreachable."""
    # Mounts that came from a more privileged namespace are locked, and a locked mount cannot
    # become the root; the top of a fresh recursive bind is not locked.
    _libc.mount(order.newroot, order.newroot, None, _libc.MS_BIND | _libc.MS_REC)
    notes = mounts.execute(order.plan.inner, order.newroot, order.layers, userns=True)
    os.chdir(order.newroot)
    _libc.pivot_root(".", ".")
    _libc.umount2(".", _libc.MNT_DETACH)
    os.chdir("/")
    return notes


def _keep_only(report: int, life: int) -> None:
    """Close every descriptor but the standard ones and these two, which get fixed numbers."""
    spare = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _LIFE_FD + 1) for fd in (report, life)]
    for fd, fixed in zip(spare, (_REPORT_FD, _LIFE_FD), strict=True):
        os.dup2(fd, fixed, inheritable=False)
    os.closerange(_LIFE_FD + 1, os.sysconf("SC_OPEN_MAX"))


def _say(stage: Stage, **fields: object) -> None:
    os.write(_REPORT_FD, json.dumps({"stage": stage, **fields}).encode() + b"\n")


def _fail(error: SandboxError) -> NoReturn:
    _say(Stage.FAILED, error=error.to_json())
    os._exit(1)
