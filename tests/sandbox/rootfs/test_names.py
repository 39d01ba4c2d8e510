"""What programs look for by name in /etc and /run, on the real kernel."""

from __future__ import annotations

import grp
import os
from pathlib import Path
import pwd
import shutil
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox.linux import libc  # the calls that Python lacks
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.spec import User

if TYPE_CHECKING:
    from tests.sandbox.rootfs.conftest import Identity
    from tests.sandbox.rootfs.conftest import Maker

pytestmark = pytest.mark.any_python

STRANGER = 64321  #: an id that no file of this machine knows


def fresh_run() -> None:
    """Have an empty /run, which is nobody else's."""
    libc.mount("tmpfs", "/run", "tmpfs", 0, "mode=755")


def changed_etc(place: Path) -> None:
    """Have an /etc that can be changed, with its changes in *place*."""
    libc.mount("tmpfs", str(place), "tmpfs", 0, "mode=755")
    shutil.copytree("/etc", place / "etc", symlinks=True)
    libc.mount(str(place / "etc"), "/etc", None, libc.MS_BIND)


@pytest.mark.parametrize("network", [Network.LOOPBACK, Network.HOST])
def test_files_that_links_of_etc_lead_to_are_where_the_links_lead(
    sandbox: Maker, outside: Path, network: Network
) -> None:
    def landscape() -> None:
        changed_etc(outside)
        fresh_run()
        os.mkdir("/run/resolve")
        for name, text in {"servers": "nameserver 192.0.2.1", "zone": "a zone"}.items():
            Path("/run/resolve", name).write_text(text, "utf-8")
        os.symlink("resolve/servers", "/run/middle")
        for name, to in {"resolv.conf": "../run/middle", "zone": "/run/resolve/zone"}.items():
            Path("/etc", name).unlink(missing_ok=True)
            os.symlink(to, f"/etc/{name}")

    def look() -> tuple[str, bool, bool]:
        servers = Path("/etc/resolv.conf")
        text = servers.read_text("utf-8") if servers.exists() else ""
        return Path("/etc/zone").read_text("utf-8"), bool(text), os.path.islink("/etc/resolv.conf")

    zone, has_servers, is_link = sandbox(Spec(network=network), landscape).run(look)

    assert zone == "a zone"
    assert has_servers == (network is Network.HOST)
    assert is_link


@pytest.mark.parametrize("user", User)
def test_caller_whom_a_name_service_knows_has_a_name_inside(
    identity: Identity, sandbox: Maker, outside: Path, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, gid = identity.uid, identity.gid

    def landscape() -> None:
        changed_etc(outside)
        for name in ("passwd", "group"):
            path = Path("/etc", name)
            lines = path.read_text("utf-8").splitlines(keepends=True)
            path.write_text("".join(x for x in lines if x.split(":")[2] != str(uid)), "utf-8")
        # As sssd would, whose socket is not to be had inside. Outside only: this is the keeper.
        known = pwd.struct_passwd(("known", "x", uid, gid, "", "/home/known", "/bin/sh"))
        group = grp.struct_group(("knowns", "x", gid, []))
        monkeypatch.setattr(pwd, "getpwuid", lambda number: {uid: known}[number])
        monkeypatch.setattr(grp, "getgrgid", lambda number: {gid: group}[number])

    def look() -> tuple[str, str]:
        return pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name

    names = sandbox(Spec(user=user), landscape).run(look)

    is_root = user is User.ROOT and not identity.privileged
    assert names == (("root", "root") if is_root else ("known", "knowns"))


def test_directories_of_run_are_there_without_what_is_in_them(
    identity: Identity, sandbox: Maker
) -> None:
    def landscape() -> None:
        fresh_run()
        for path, mode, owner in (
            ("/run/daemon", 0o2775, STRANGER),
            ("/run/daemon/below", 0o700, 0),
            ("/run/mine", 0o700, identity.uid),
        ):
            os.mkdir(path)
            os.chown(path, owner, owner)
            os.chmod(path, mode)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("/run/daemon/socket")
        listener.listen()
        listener.detach()
        Path("/run/secret").write_text("secret", "utf-8")
        os.symlink("/run/daemon", "/run/link")

    def look() -> dict[str, tuple[int, int]]:
        found = {}
        for path, names, files in os.walk("/run"):
            for name in (*names, *files):
                status = os.lstat(f"{path}/{name}")
                found[f"{path}/{name}"] = stat.S_IMODE(status.st_mode), status.st_uid
        return found

    def write() -> list[bool]:
        return [os.access(path, os.W_OK) for path in ("/run/mine", "/run/daemon", "/run")]

    box = sandbox(Spec(), landscape)
    found, is_writable = box.run(look), box.run(write)

    if identity.privileged:
        assert found == {
            "/run/daemon": (0o2775, STRANGER),
            "/run/daemon/below": (0o700, 0),
            "/run/mine": (0o700, 0),
        }
        assert is_writable == [True, True, True]
    else:
        assert set(found) == {"/run/daemon", "/run/daemon/below", "/run/mine"}
        assert {owner for _, owner in found.values()} == {identity.uid}
        assert is_writable == [True, False, False]


@pytest.mark.parametrize("there", ["", "etc", "etc var usr/lib home", "usr/etc"])
def test_root_of_somebody_else_that_lacks_what_is_mounted_on_serves(
    identity: Identity, sandbox: Maker, outside: Path, there: str
) -> None:
    top, project = outside / "root", Path(identity.home, "project")
    top.mkdir()
    project.mkdir()
    identity.own(project)
    for name in there.split():
        (top / name).mkdir(parents=True)
    if there == "usr/etc":
        (top / "etc").symlink_to("usr/etc")
    if not identity.privileged and os.geteuid() != 0:
        for path in sorted(top.rglob("*"), reverse=True):
            path.chmod(0o555)
        top.chmod(0o555)
    spec = Spec(root=DirectoryRoot(str(top)), project=(str(project),))

    def use() -> list[bool]:
        Path("/var/tmp/new").touch()
        (project / "new").touch()
        return ["localhost" in Path("/etc/hosts").read_text("utf-8"), os.path.isdir("/proc/self")]

    box = sandbox(spec)

    assert box.run(use) == [True, True]
    assert box.notes == ()
    assert not list(project.iterdir())
    assert not list(top.rglob("hosts"))
    for path in (top, *top.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
