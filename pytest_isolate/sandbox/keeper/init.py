"""PID 1 of one sandbox: waits, so that everything inside dies with it.

Init speaks to the keeper by frames on *report*; the keeper speaks to it by *life*: one byte
means go on, end of file means that the keeper is gone or wants the sandbox gone. The kernel kills
everything in a PID namespace whose init exits, so reading *life* to its end is all the clean-up
that a dead keeper needs.

As the machine's root the keeper builds the sandbox around init, see `build_privileged`. Otherwise
nobody outside may, and a *builder*, forked from the keeper, makes the namespaces, forks init and
leaves; the keeper (a subreaper) inherits init.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from typing import TYPE_CHECKING
from typing import Final
from typing import NoReturn

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.errors import step
from pytest_isolate.sandbox.keeper import prepare_root
from pytest_isolate.sandbox.launch import namespaces
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.linux import waits
from pytest_isolate.wire.codec import encode
from pytest_isolate.wire.frames import Born
from pytest_isolate.wire.frames import Failed
from pytest_isolate.wire.frames import Made

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_isolate.sandbox.keeper.build_plan import BuildPlan
    from pytest_isolate.sandbox.launch.namespaces import IdMaps
    from pytest_isolate.sandbox.shortfalls import Shortfall
    from pytest_isolate.wire.frames import BuilderFrame

_REPORT_FD: Final = 3
_LIFE_FD: Final = 4
#: What the keeper says on *life*.
GO_ON: Final = b"+"
FIND_ROOT: Final = b"/"  #: and the root has to be found first, for it was not entered
_NO_LAYERS: Final[Mapping[str, int]] = {}


def be_assembled(report: int, life: int) -> NoReturn:
    """Be init, in a fresh clone of the keeper, which builds the sandbox meanwhile."""
    try:
        _keep_only(report, life)
        word = _wait_for_keeper()
        with step("make mount namespace"):
            # A copy for a less privileged user namespace, so every mount in it is locked: the
            # test cannot take a read-only one off, see mount_namespaces(7).
            libc.unshare(libc.CLONE_NEWNS)
            if word == FIND_ROOT:
                _find_root()
        _serve(())
    except SandboxError as error:
        _fail(error)
    except BaseException as error:  # noqa: BLE001  # the outermost frame of a forked child
        _fail(SandboxError("make sandbox", repr(error)))


def stand_in(report: int, life: int) -> NoReturn:
    """Be what init is to a sandbox without namespaces: its death is the order to kill all of it.

    Who obeys is the test process's relay, see `process`.
    """
    try:
        _keep_only(report, life)
        _serve(())
    except BaseException as error:  # noqa: BLE001  # the outermost frame of a forked child
        _fail(SandboxError("make sandbox", repr(error)))


def build(plan: BuildPlan, report: int, life: int) -> NoReturn:
    """Be the builder, in a fresh fork of the keeper; init is a fork of it in turn."""
    try:
        _keep_only(report, life)
        _build(plan)
    except OSError as error:
        _fail(SandboxError.from_os_error(error))
    except SandboxError as error:
        _fail(error)
    except BaseException as error:  # noqa: BLE001  # the outermost frame of a forked child
        _fail(SandboxError("make sandbox", repr(error)))
    os._exit(0)


def _build(plan: BuildPlan) -> None:
    """Make two user namespaces: mounts made in the first are locked in the second."""
    user_and_mount = libc.CLONE_NEWUSER | libc.CLONE_NEWNS
    _unshare("make user and mount namespace", user_and_mount, plan.maps)
    less = prepare_root.lay_out(plan, userns=True)
    layers = prepare_root.open_layers(plan)
    _unshare("make namespaces", namespaces.flags(plan.spec), plan.maps.again())
    pid = os.fork()
    if pid:
        _say(Born(pid))
        return
    less += prepare_root.set_up_network(plan, userns=True)
    less += prepare_root.enter_root(plan, userns=True)
    prepare_root.set_host_name(plan)
    _serve(less, layers)


def _unshare(what: str, flags: int, maps: IdMaps) -> None:
    """Enter namespaces with a user namespace of *maps* among them."""
    if not maps.from_outside:
        with step(what):
            libc.unshare(flags)
        namespaces.write_maps(maps, "self")
        return
    # Who writes must be in the parent namespace, so neither here nor, for the second of two, the
    # keeper: see user_namespaces(7).
    begin, go_on = os.pipe2(os.O_CLOEXEC)
    writer = os.fork()
    if not writer:
        os.close(go_on)
        _write_maps(begin, maps)
    try:
        with step(what):
            libc.unshare(flags)
        os.write(go_on, b"+")
    finally:
        os.close(begin)
        os.close(go_on)
        status = waits.reap(writer)
    code = errno.ETIMEDOUT if status is None else os.waitstatus_to_exitcode(status)
    if code:
        raise OSError(code, f"write: {os.strerror(code)}", "/proc/PID/uid_map")


def _write_maps(begin: int, maps: IdMaps) -> NoReturn:
    """Write *maps* for the parent process when it is ready; leave with the error number."""
    try:
        if os.read(begin, 1):
            namespaces.write_maps(maps, os.getppid())
    except OSError as error:
        os._exit(error.errno or 1)
    except BaseException:  # noqa: BLE001  # the outermost frame of a forked child
        os._exit(1)
    os._exit(0)


def _serve(less: tuple[Shortfall, ...], layers: Mapping[str, int] = _NO_LAYERS) -> NoReturn:
    """Wait for the end.

    The keeper takes *layers* over by /proc, and says so: until they are closed, a test that has
    all capabilities could reach them here.
    """
    # Children of an ignored SIGCHLD are reaped by the kernel, see waitpid(2): no orphan of the
    # test stays a zombie, and PID 1 has nothing to do.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    _say(Made([one.to_json() for one in less], dict(layers)))
    os.close(_REPORT_FD)
    while os.read(_LIFE_FD, 1):
        for fd in layers.values():
            os.close(fd)
        layers = _NO_LAYERS
    os._exit(0)


def _wait_for_keeper() -> bytes:
    word = os.read(_LIFE_FD, 1)
    if not word:
        os._exit(0)
    return word


def _find_root() -> None:
    """Go to the root of the mount namespace: a new root that covers the old one is not entered.

    pivot_root(2) would have taken this process along, and /proc is gone from the old root.
    """
    fd = os.pidfd_open(os.getpid())
    libc.setns(fd, libc.CLONE_NEWNS)
    os.close(fd)


def _keep_only(report: int, life: int) -> None:
    """Close every descriptor but the standard ones and these two, which get fixed numbers."""
    # First, for the rest needs room below the limit, and what fails is said on a fixed number.
    low, high = sorted((report, life))
    os.closerange(_REPORT_FD, low)
    os.closerange(low + 1, high)
    os.closerange(high + 1, os.sysconf("SC_OPEN_MAX"))
    spare = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _LIFE_FD + 1) for fd in (report, life)]
    for fd, fixed in zip(spare, (_REPORT_FD, _LIFE_FD), strict=True):
        os.dup2(fd, fixed, inheritable=False)
    os.closerange(_LIFE_FD + 1, os.sysconf("SC_OPEN_MAX"))


def _say(frame: BuilderFrame) -> None:
    os.write(_REPORT_FD, encode(frame))


def _fail(error: SandboxError) -> NoReturn:
    try:
        _say(Failed(error.to_json()))
    finally:
        os._exit(1)  # whatever happens: this is a fork of the keeper
