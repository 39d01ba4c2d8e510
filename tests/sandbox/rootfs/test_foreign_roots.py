"""Roots that are not the host's, and an interpreter of the host's that goes on importing."""

from __future__ import annotations

from functools import cache
import json
import os
from pathlib import Path
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING
from typing import Any

import pytest

from pytest_isolate.sandbox.rootfs import interpreter
from pytest_isolate.sandbox.spec import DirectoryRoot
from pytest_isolate.sandbox.spec import MinimalRoot
from pytest_isolate.sandbox.spec import Network
from pytest_isolate.sandbox.spec import Root
from pytest_isolate.sandbox.spec import Spec

if TYPE_CHECKING:
    from tests.sandbox.rootfs.conftest import Identity
    from tests.sandbox.rootfs.conftest import Maker


@pytest.fixture(params=["sh", "busybox"])
def root(request: pytest.FixtureRequest, identity: Identity, outside: Path) -> Path:
    """Return a root file system with a shell and nothing that Python needs."""
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"no {request.param} here")
    top = outside / "root"
    for file in (Path(program).resolve(), *libraries_of(program)):
        target = top / file.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file.resolve(), target)
    (top / "bin").mkdir(exist_ok=True)
    if not (top / "bin/sh").exists():
        (top / "bin/sh").symlink_to(Path(program).resolve())
    (top / "etc").mkdir()
    (top / "etc/marker").write_text("foreign\n", "utf-8")
    identity.own(top, *(path for path in top.rglob("*") if not path.is_symlink()))
    return top


def libraries_of(program: str) -> list[Path]:
    """Return the dynamic loader and the libraries of *program*: none if it is static."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False)
    return [Path(word) for word in listed.stdout.split() if word.startswith("/")]


def shell(command: str) -> str:
    """Return the output of *command*; the subprocess module may be out of reach."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        os.execv("/bin/sh", ["sh", "-c", command])  # noqa: S606  # of the root
    os.waitpid(pid, 0)
    return os.read(reader, 9999).decode()


def refused(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    except OSError:
        return True
    return False


# A directory.


def test_programs_of_a_directory_root_are_its_own(sandbox: Maker, root: Path) -> None:
    box = sandbox(Spec(root=DirectoryRoot(str(root))))

    assert box.run(shell, "read word < /etc/marker && echo $word") == "foreign\n"


def test_a_directory_root_is_copy_on_write(sandbox: Maker, root: Path) -> None:
    before = sorted(root.rglob("*"))
    box = sandbox(Spec(root=DirectoryRoot(str(root))))

    def write() -> tuple[str, list[str]]:
        for path in ("/new", "/etc/new", "/tmp/new", "/bin/new"):
            Path(path).touch()
        Path("/etc/marker").write_text("changed", "utf-8")
        return Path("/etc/marker").read_text("utf-8"), os.listdir("/")

    written, entries = box.run(write)

    assert written == "changed"
    assert {"bin", "dev", "etc", "new", "proc", "run", "sys", "tmp", "var"} <= set(entries)
    assert not {"home", "opt", "srv", "root"} & set(entries)
    assert (root / "etc/marker").read_text("utf-8") == "foreign\n"
    assert sorted(root.rglob("*")) == before


def test_a_project_in_a_directory_root_is_copy_on_write(
    sandbox: Maker, identity: Identity, root: Path, outside: Path
) -> None:
    project, library = outside / "project", outside / "library"
    for path in (project, library):
        path.mkdir()
        (path / "module.py").write_text("source", "utf-8")
        identity.own(path, path / "module.py")
    spec = Spec(root=DirectoryRoot(str(root)), project=(str(project),), imports=(str(library),))

    def use() -> tuple[str, bool, bool]:
        (project / "module.py").write_text("changed", "utf-8")
        text = (project / "module.py").read_text("utf-8") + (library / "module.py").read_text(
            "utf-8"
        )
        return text, refused(f"{project}/new"), refused(f"{library}/new")

    assert sandbox(spec).run(use) == ("changedsource", False, True)
    assert (project / "module.py").read_text("utf-8") == "source"
    assert os.listdir(project) == ["module.py"]


def test_links_of_a_hostile_root_do_not_lead_out(
    sandbox: Maker, identity: Identity, outside: Path
) -> None:
    top, host = outside / "root", outside / "host"
    for path in (top / "elsewhere", host):
        path.mkdir(parents=True)
    (top / "tmp").symlink_to(host)
    (top / "dev").symlink_to("../../../../../../etc")
    (top / "var").symlink_to("/elsewhere")
    (top / "mnt").symlink_to("/proc/1/root/mnt")
    (top / "etc").symlink_to("/nowhere/etc")
    identity.own(top, top / "elsewhere", host)
    before = sorted(os.listdir("/etc"))
    project = outside / "project"
    project.mkdir()

    box = sandbox(Spec(root=DirectoryRoot(str(top)), project=(str(project),)))

    def look() -> tuple[list[str], list[str], bool]:
        return os.listdir(str(host)), sorted(os.listdir("/etc")), os.path.ismount("/elsewhere/tmp")

    inside_host, inside_etc, is_mounted = box.run(look)
    assert "null" in inside_etc
    assert is_mounted
    assert inside_host == []
    assert os.listdir(host) == []
    assert sorted(os.listdir("/etc")) == before


def test_the_interpreter_goes_on_importing_in_a_directory_root(root: Path) -> None:
    found = import_inside(root, "preload")

    assert {"ssl", "sqlite3"} <= set(found["unseen"])
    assert found["failed"] == {}
    assert "127.0.0.1" in found["localhost"]
    assert found["own name"] == "127.0.1.1"
    assert found["shell"] == "foreign\n"


def test_without_the_hosts_libraries_it_would_not(root: Path) -> None:
    """But for modules whose libraries the interpreter has brought along, as conda's and uv's do."""
    modules = ("ssl", "sqlite3")
    without = {module for module in modules if libraries_out_of_reach(module, root)}

    failed = import_inside(root, "plain")["failed"]

    assert without == {module for module in modules if module in failed}
    assert all("cannot open shared object file" in failed[module] for module in without)


def libraries_out_of_reach(module: str, root: Path) -> list[str]:
    """Return what *module* is linked to that is neither in *root* nor the interpreter's own."""
    code = f"import {module}; print(open('/proc/self/maps').read())"
    command = [sys.executable, "-c", code]
    maps = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    loaded = {line.split()[-1] for line in maps.splitlines() if ".so" in line}
    own = interpreter.interpreter_paths()
    return sorted(
        library
        for library in loaded
        if not any(library.startswith(f"{top}/") for top in own)
        and not any(root.rglob(Path(library).name))
        # What every process of the interpreter has loaded is there already.
        and library not in always_loaded()
    )


@cache
def always_loaded() -> frozenset[str]:
    code = "import ctypes; ctypes.CDLL('libgcc_s.so.1'); print(open('/proc/self/maps').read())"
    maps = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return frozenset(line.split()[-1] for line in maps.stdout.splitlines() if ".so" in line)


def import_inside(root: Path, how: str) -> dict[str, Any]:
    program = Path(__file__).with_name("import_inside.py")
    command = [sys.executable, str(program), str(root), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


# Nothing but the interpreter.


def test_a_minimal_root_has_little_and_nothing_of_it_can_be_changed(
    sandbox: Maker, identity: Identity, outside: Path
) -> None:
    project = outside / "project"
    project.mkdir()
    identity.own(project)
    box = sandbox(Spec(root=MinimalRoot(), project=(str(project),), hostname="small"))

    def look() -> tuple[list[str], list[str], list[bool], str, str]:
        read_only = ("/usr/lib/new", f"{project}/new")
        kept = [refused(path) for path in read_only if os.path.isdir(os.path.dirname(path))]
        name = Path("/etc/hostname").read_text("utf-8")
        passwd = Path("/etc/passwd").read_text("utf-8")
        return os.listdir("/"), os.listdir("/etc"), kept, name, passwd

    entries, etc, kept, name, passwd = box.run(look)

    assert set(entries) <= {
        *(
            "dev",
            "etc",
            "lib",
            "lib32",
            "lib64",
            "libx32",
            "proc",
            "run",
            "sys",
            "tmp",
            "usr",
            "var",
        ),
        Path(*outside.parts[:2]).name,
    }
    assert {"passwd", "group", "hosts", "hostname", "nsswitch.conf"} <= set(etc)
    assert not {"shadow", "resolv.conf"} & set(etc)
    assert kept == [True, True]
    assert name == "small\n"
    assert f":{identity.uid}:" in passwd
    assert not box.run(os.path.isdir, identity.home)
    assert not box.run(os.path.exists, "/bin/sh")


def test_a_minimal_root_runs_the_interpreter(sandbox: Maker, identity: Identity) -> None:
    if not identity.privileged and os.geteuid() == 0:
        pytest.skip("the interpreter may lie in root's home")
    code = "import ssl, sqlite3, decimal, socket; print(socket.gethostbyname('localhost'))"
    spec = Spec(root=MinimalRoot(), imports=interpreter.interpreter_paths())

    def run() -> tuple[str, str]:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout, done.stderr

    assert sandbox(spec).run(run) == ("127.0.0.1\n", "")


def test_a_minimal_root_resolves_names(sandbox: Maker) -> None:
    box = sandbox(Spec(root=MinimalRoot(), network=Network.NONE))

    assert box.run(socket.gethostbyname, "localhost") == "127.0.0.1"


def test_a_writable_path_is_written_through_from_every_root(
    sandbox: Maker, identity: Identity, root: Path, outside: Path
) -> None:
    snapshots = outside / "snapshots"
    snapshots.mkdir()
    identity.own(snapshots)

    kinds: list[Root] = [MinimalRoot(), DirectoryRoot(str(root))]
    for number, kind in enumerate(kinds):
        box = sandbox(Spec(root=kind, writable=(str(snapshots),)))
        box.run((snapshots / str(number)).write_text, "kept")

    assert sorted(os.listdir(snapshots)) == ["0", "1"]
