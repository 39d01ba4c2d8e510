"""What lies beside a mount can be written to as outside: a mount in a project changes nothing."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox.linux import libc  # the calls that Python lacks
from pytest_isolate.sandbox.spec import Spec

if TYPE_CHECKING:
    from pathlib import Path

    from tests.sandbox.rootfs.conftest import Identity
    from tests.sandbox.rootfs.conftest import Maker

pytestmark = pytest.mark.any_python

#: More than is copied.
LARGE = 8 << 20


@pytest.fixture
def project(identity: Identity, outside: Path) -> Path:
    project = outside / "project"
    (project / "node_modules").mkdir(parents=True)
    (project / "source").mkdir()
    (project / "source/deep").write_text("deep", "utf-8")
    (project / "settings").write_text("before", "utf-8")
    (project / "settings").chmod(0o640)
    os.utime(project / "settings", (1, 2))
    with (project / "large").open("wb") as file:
        file.truncate(LARGE)
    for path in (project, *project.rglob("*")):
        identity.own(path)
    return project


def mount(identity: Identity, project: Path) -> None:
    place = project / "node_modules"
    libc.mount("tmpfs", str(place), "tmpfs", 0, "mode=0755")
    (place / "module").write_text("mounted", "utf-8")
    identity.own(place, place / "module")


def test_files_beside_and_below_a_mount_are_copy_on_write(
    identity: Identity, sandbox: Maker, project: Path
) -> None:
    box = sandbox(Spec(project=(str(project),)), lambda: mount(identity, project))

    def use() -> list[str]:
        for name in ("settings", "source/deep", "node_modules/module"):
            with (project / name).open("a", encoding="utf-8") as file:
                file.write(" after")
        (project / "new").write_text("new", "utf-8")
        (project / "settings").rename(project / "moved")
        (project / "source/deep").chmod(0o600)
        names = ("moved", "source/deep", "node_modules/module", "new")
        return [(project / name).read_text("utf-8") for name in names]

    assert box.run(use) == ["before after", "deep after", "mounted after", "new"]
    assert (project / "settings").read_text("utf-8") == "before"
    assert not (project / "new").exists()


def test_a_copy_looks_like_the_file(identity: Identity, sandbox: Maker, project: Path) -> None:
    box = sandbox(Spec(project=(str(project),)), lambda: mount(identity, project))

    def look() -> tuple[int, int, float, int]:
        status = (project / "settings").stat()
        return status.st_mode, status.st_uid, status.st_mtime, status.st_size

    assert box.run(look) == (stat.S_IFREG | 0o640, identity.uid, 2.0, len("before"))


def test_a_file_that_is_too_large_to_copy_is_told(
    identity: Identity, sandbox: Maker, project: Path
) -> None:
    box = sandbox(Spec(project=(str(project),)), lambda: mount(identity, project))

    def write() -> str:
        try:
            with (project / "large").open("r+b") as file:
                file.write(b"x")
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return ""

    told = [note for note in box.notes if note.startswith(f"read-only: {project}/large (")]
    assert (box.run(write), len(told)) == (("", 0) if identity.privileged else ("EROFS", 1))
