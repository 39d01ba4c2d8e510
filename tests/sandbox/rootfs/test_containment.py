"""What keeps a test from the machine's knobs, and a sandbox inside a sandbox."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
import struct
import subprocess
from typing import TYPE_CHECKING
from typing import Any

import pytest

from pytest_isolate.sandbox.linux import libc  # the calls that Python lacks
from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sandbox.rootfs.conftest import Identity
    from tests.sandbox.rootfs.conftest import Maker
    from tests.sandbox.rootfs.conftest import Sandbox

pytestmark = pytest.mark.any_python

# linux/prctl.h, linux/seccomp.h, linux/filter.h, asm-generic/unistd.h
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ERRNO = 0x00050000
SECCOMP_RET_ALLOW = 0x7FFF0000
LOAD_WORD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
MOUNT_SETATTR = 442


def refusal(call: Callable[..., Any], *arguments: object) -> str:
    """Return the name of the errno that *call* fails with, or "" if it does not."""
    try:
        call(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


KNOBS = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/vm/drop_caches",
    "/proc/irq/default_smp_affinity",
)


def attack() -> dict[str, str]:
    """Try to make the machine's knobs writable; return what did not fail."""
    box: dict[str, str] = {}
    os.mkdir("/tmp/p", 0o755)
    below = ["/proc/sys", "/proc/irq", "/proc/keys", "/proc", "/sys", "/sys", "/dev/mqueue", "/dev"]
    for path in below:
        box[f"umount {path}"] = refusal(libc.umount2, path, libc.MNT_DETACH)
        for knob in KNOBS:
            box[f"open {knob} after {path}"] = refusal(os.open, knob, os.O_WRONLY)
    for path in ("/proc/sys", "/sys", "/dev/mqueue/proc"):
        flags = libc.MS_REMOUNT | libc.MS_BIND
        box[f"remount {path}"] = refusal(libc.mount, None, path, None, flags)
        box[f"reconfigure {path}"] = refusal(libc.mount, None, path, None, libc.MS_REMOUNT)
    for fstype in ("proc", "sysfs"):
        box[f"mount {fstype}"] = refusal(libc.mount, fstype, "/tmp/p", fstype)
        box[f"open {fstype}"] = refusal(os.open, "/tmp/p/sys/kernel/core_pattern", os.O_WRONLY)
    for path in KNOBS:
        box[f"open {path}"] = refusal(os.open, path, os.O_WRONLY)
    box["bind"] = refusal(libc.mount, "/proc", "/tmp/p", None, libc.MS_BIND | libc.MS_REC)
    box["open bound"] = refusal(os.open, "/tmp/p/sys/kernel/core_pattern", os.O_WRONLY)
    libc.unshare(libc.CLONE_NEWUSER | libc.CLONE_NEWNS)
    box["umount nested"] = refusal(libc.umount2, "/proc/sys", 0)
    box["open nested"] = refusal(os.open, KNOBS[0], os.O_WRONLY)
    return box


@pytest.mark.parametrize(
    "user", [User.KEEP, pytest.param(User.ROOT, marks=pytest.mark.needs("pivot_root"))]
)
def test_no_capability_makes_the_kernels_knobs_writable(
    identity: Identity, sandbox: Maker, user: User
) -> None:
    before = Path(KNOBS[0]).read_text("utf-8")

    done = sandbox(Spec(user=user)).run(attack)

    # All that succeeds is to take away what lies over something that can only be read. The root of
    # an ordinary user's sandbox may take off all that shows its processes, and show them anew:
    # outside it is a user to whom no knob belongs.
    harmless = {"umount /sys", "umount /dev/mqueue", "bind"} if user is User.ROOT else set()
    if user is User.ROOT and not identity.privileged:
        harmless |= {f"umount {path}" for path in ("/proc/sys", "/proc/irq", "/proc/keys", "/proc")}
        harmless |= {f"{step} /dev/mqueue/proc" for step in ("remount", "reconfigure")}
        harmless.add("mount proc")
    undone = {step for step, error in done.items() if not error}
    assert undone <= harmless
    assert {error for step, error in done.items() if step.startswith("open ")} <= {
        "EROFS",
        "EACCES",
        "ENOENT",
    }
    assert Path(KNOBS[0]).read_text("utf-8") == before


def test_secrets_of_the_kernel_read_as_empty(sandbox: Maker) -> None:
    assert sandbox(Spec()).run(lambda: Path("/proc/keys").read_text("utf-8")) == ""


#: By mount(2): with fsmount(2), as of util-linux 2.42, a file system is read-only only after it has
#: been made, and the kernel refuses to make a proc that is not.
MOUNT = {**os.environ, "LIBMOUNT_FORCE_MOUNT2": "always"}


def nested(mount: str) -> tuple[str, str]:
    """Return the first process that a nested sandbox sees in its /proc, and error messages."""
    command = ["unshare", "-Urmpf", "sh", "-c", f"{mount} && ls /proc"]
    done = subprocess.run(command, env=MOUNT, capture_output=True, text=True, check=False)
    return done.stdout[:2], done.stderr


def test_a_nested_sandbox_can_mount_a_proc_of_its_own(identity: Identity, sandbox: Maker) -> None:
    box = sandbox(Spec())

    read_only = box.run(nested, "mount -t proc -o ro proc /proc")
    writable = box.run(nested, "mount -t proc proc /proc")

    if identity.privileged:
        # A proc that user 0 can write to is a kernel whose knobs user 0 can turn.
        assert read_only == ("1\n", "")
        assert writable[0] == ""
    else:
        assert writable == ("1\n", "")


def without_mount_setattr() -> None:
    """Answer ENOSYS to mount_setattr(2) from now on, as podman's filter does."""
    steps = (
        (LOAD_WORD, 0, 0, 0),
        (JUMP_EQUAL, 0, 1, MOUNT_SETATTR),
        (RETURN, 0, 0, SECCOMP_RET_ERRNO | errno.ENOSYS),
        (RETURN, 0, 0, SECCOMP_RET_ALLOW),
    )
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))


@pytest.mark.parametrize("landscape", [None, without_mount_setattr])
@pytest.mark.parametrize("network", [Network.LOOPBACK, Network.HOST])
def test_what_is_planned_read_only_is(
    sandbox: Maker, network: Network, landscape: Callable[[], None] | None
) -> None:
    box = sandbox(Spec(network=network), landscape)

    found = box.run(mountinfo.current)

    tops = ("/sys", "/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs")
    planned = [m for m in found if any(m.target == t or m.target.startswith(f"{t}/") for t in tops)]
    assert {mount.target for mount in planned} >= {"/sys", "/proc/sys"}
    assert [mount.target for mount in planned if not mount.read_only] == []
    assert box.notes == ()


def test_a_sandbox_can_be_made_inside_a_sandbox(
    identity: Identity, sandbox: Maker, outside: Path
) -> None:
    box = sandbox(Spec())
    make: type[Sandbox] = type(box)

    def nest() -> tuple[tuple[str, ...], str, bool]:
        (outside / "between").write_text("seen", "utf-8")
        nested_box = make(identity, Spec())
        try:
            text = nested_box.run((outside / "between").read_text)
            nested_box.run((outside / "innermost").write_text, "gone")
        finally:
            nested_box.close()
        return nested_box.notes, text, (outside / "innermost").exists()

    try:
        notes, text, survives = box.run(nest)
    except AssertionError as error:
        if "Read-only file system" in str(error):
            pytest.skip("the machine's root is an overlay: two more are one too many")
        raise

    expected = {"read-only: /proc (proc refused: EPERM)"} if identity.privileged else set()
    # On a root that is an overlay itself, that of the sandbox in the sandbox is one too many.
    root = mountinfo.visible(mountinfo.current())[0]
    too_many = {note for note in notes if note.endswith("(overlay refused: EINVAL)")}
    assert set(notes) - (too_many if root.fstype == "overlay" else set()) == expected
    assert (text, survives) == ("seen", False)
    assert not (outside / "between").exists()
