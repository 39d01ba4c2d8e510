"""What a kernel refuses in part is had in a lesser form, which is told and contains as much."""

from __future__ import annotations

import json
import os
from pathlib import Path
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

import pytest

from pytest_isolate.sandbox.keeper.build_privileged import OwnNamespaces
from pytest_isolate.sandbox.linux import capabilities
from pytest_isolate.sandbox.linux import libc
from pytest_isolate.sandbox.remedies import FOR_NAMESPACES
from pytest_isolate.sandbox.remedies import Environment

if TYPE_CHECKING:
    from collections.abc import Sequence

REFUSE: Final = (sys.executable, str(Path(__file__).parents[1] / "refuse.py"))
#: A container's masked /proc, as Docker's; and without CAP_SYS_ADMIN, as podman's.
MASKED: Final = (
    *("unshare", "--mount", "sh", "-c"),
    'mount -t tmpfs none /proc/irq && exec setpriv --bounding-set=-sys_admin "$0" "$@"',
)
needs_root = pytest.mark.skipif(
    not capabilities.is_machine_root(), reason="only the machine's root can make such a machine"
)
pytestmark = [pytest.mark.any_python, needs_root, pytest.mark.usefixtures("footprint")]


def doctor(*prefix: str) -> dict[str, dict[str, Any]]:
    """Return what the doctor finds when started by *prefix*, by name."""
    command = [*prefix, sys.executable, "-m", "pytest_isolate", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return {entry["name"]: entry for entry in json.loads(done.stdout)["capabilities"]}


def run(prefix: Sequence[str], script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the Python *script* in a sandbox, from a machine that is made by *prefix*."""
    command = [*prefix, sys.executable, "-m", "pytest_isolate", "run", *options, "--"]
    return subprocess.run(
        [*command, sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- no pivot_root: Docker's seccomp profile, with CAP_SYS_ADMIN ---


@pytest.mark.parametrize("errno", ["EPERM", "ENOSYS"])
def test_root_is_covered_where_it_cannot_be_exchanged(errno: str) -> None:
    found = doctor(*REFUSE, errno, "pivot_root", "--")

    assert found["sandbox"]["state"] == "yes"
    assert found["pivot_root"]["state"] == "partial"
    assert found["pivot_root"]["lacks"] == (
        f"the old root covered and not gone: chroot (pivot_root refused: {errno})"
    )


def test_nothing_leads_to_the_covered_root(tmp_path: Path) -> None:
    (tmp_path / "outside").touch()
    script = f"""
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)

        def attempt(name, call, *arguments):
            try:
                call(*arguments)
            except OSError:
                pass
            if os.path.exists({str(tmp_path / "outside")[1:]!r}):
                print("out by", name)

        def climb():
            os.mkdir("/tmp/x")
            os.chroot("/tmp/x")
            for _ in range(20):
                os.chdir("..")

        def unmount():
            libc.umount2(b"/", 2)
            os.chdir("/..")

        def nest():
            libc.unshare(0x10020000)
            unmount()
            libc.setns(os.open("/proc/self/ns/mnt", os.O_RDONLY), 0)
            os.chdir("/")

        os.chdir("/")
        attempt("init's root", os.chdir, "/proc/1/root")
        attempt("the mount namespace", lambda: libc.setns(os.open("/proc/1/ns/mnt", 0), 0))
        attempt("unmounting", unmount)
        attempt("a nested namespace", nest)
        attempt("chroot", climb)
    """
    prefix = (*REFUSE, "EPERM", "pivot_root", "--")
    done = run(prefix, script)

    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_nested_namespace_has_no_use_of_the_covered_proc() -> None:
    """Root's own proc in a nested namespace would turn the kernel's knobs, if it were writable."""
    script = """
        import os, subprocess
        nested = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork"]
        for options in ("rw", "ro"):
            mount = ["mount", "-t", "proc", "-o", options, "proc", "/proc"]
            # By mount(2): fsmount(2) makes a file system read-only only after it has been made.
            env = {**os.environ, "LIBMOUNT_FORCE_MOUNT2": "always"}
            done = subprocess.run([*nested, *mount], env=env, stderr=subprocess.DEVNULL)
            print(options, done.returncode == 0)
    """
    done = run((*REFUSE, "EPERM", "pivot_root", "--"), script)

    assert (done.stdout, done.stderr) == ("rw False\nro True\n", "")


def test_covered_root_contains_as_much_and_has_sandboxes_in_it() -> None:
    """All tests of containment, as root and as an ordinary user."""
    containment = Path(__file__).parent / "rootfs" / "test_containment.py"
    done = subprocess.run(
        [
            *(*REFUSE, "EPERM", "pivot_root", "--"),
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", containment),
        ],
        env={name: value for name, value in os.environ.items() if name != "CI"},  # some need it
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stdout


def test_user_root_could_uncover_the_root_and_is_refused() -> None:
    done = run((*REFUSE, "EPERM", "pivot_root", "--"), "pass", "--user=root")

    assert done.returncode == 125
    assert done.stderr.startswith(
        "Isolation failed: pivot_root, which user root needs: Operation not permitted\n"
    )


# --- a /proc that is partly covered: every container ---


def test_proc_of_the_container_is_shown_where_none_can_be_mounted() -> None:
    found = doctor(*MASKED)

    assert found["sandbox"]["state"] == "yes"
    assert found["proc"]["state"] == "partial"
    assert found["proc"]["lacks"].endswith("/proc (proc refused: EPERM)")


def test_processes_of_the_container_are_seen_and_out_of_reach() -> None:
    script = """
        import os
        print(os.path.exists("/proc/self/stat"), os.getpid() != 1)
        own = os.readlink("/proc/self")
        looks = {
            "root": os.listdir,
            "cwd": os.listdir,
            "fd/0": os.readlink,
            "environ": lambda path: open(path, "rb").read(1),
            "mem": lambda path: open(path, "rb"),
        }
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                command = open(f"/proc/{pid}/cmdline", "rb").read(1)
            except OSError:
                continue  # it has ended meanwhile
            if not command:
                continue  # a thread of the kernel, of which Linux 6.1 opens what is empty
            for name, look in looks.items():
                try:
                    look(f"/proc/{pid}/{name}")
                except OSError:
                    continue
                if pid != own:
                    print("reached", pid, name)
        for knob in ("kernel/core_pattern", "kernel/hostname"):
            try:
                open(f"/proc/sys/{knob}", "r+")
                print("can turn", knob)
            except OSError:
                pass
    """
    done = run(MASKED, script)

    assert (done.stdout, done.stderr, done.returncode) == ("True True\n", "", 0)


# --- no sethostname: podman ---


def test_default_host_name_is_dropped_and_one_that_was_asked_for_refused() -> None:
    prefix = (*REFUSE, "EPERM", "sethostname", "--")
    found = doctor(*prefix)
    done = run(prefix, "pass")
    asked = run(prefix, "import socket; print(socket.gethostname())", "--hostname=box")

    assert found["sandbox"]["state"] == "yes"
    assert found["hostname"]["state"] == "no"
    assert done.returncode == 0
    assert asked.returncode == 125
    assert asked.stderr.startswith(
        "Isolation failed: hostname box (--hostname): sethostname isolated: Operation not"
    )


def test_host_s_name_is_kept_then() -> None:
    done = run((*REFUSE, "EPERM", "sethostname", "--"), "import os; print(os.uname().nodename)")

    assert done.stdout == f"{os.uname().nodename}\n"


# --- inside a chroot ---


def test_chroot_is_not_left_and_refuses(tmp_path: Path) -> None:
    script = """
        mount -t tmpfs none "$0"
        for path in /*; do
            if [ -L "$path" ]; then cp -P "$path" "$0"
            elif [ -d "$path" ]; then mkdir "$0$path" && mount --rbind "$path" "$0$path"
            fi
        done
        cd / && exec chroot "$0" "$@"
    """
    found = doctor("unshare", "--mount", "sh", "-ec", script, str(tmp_path))

    assert found["sandbox"]["state"] == "no"
    assert found["userns"]["why"] == "make user namespace: Operation not permitted"
    assert found["userns"]["errno"] == "EPERM"
    assert found["userns"]["fix"] == FOR_NAMESPACES[Environment.CHROOT]


def test_keeper_that_has_been_away_is_in_its_chroot_again(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            libc.unshare(libc.CLONE_NEWNS)
            libc.mount(None, "/", None, libc.MS_REC | libc.MS_PRIVATE)
            libc.mount("/proc", str(tmp_path / "proc"), None, libc.MS_BIND | libc.MS_REC)
            os.chroot(tmp_path)
            with OwnNamespaces(knows_pidns=False).restored():
                pass
            status = 0 if os.listdir("/") == ["proc"] else 2
        finally:
            os._exit(status)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
