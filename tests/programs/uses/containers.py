"""Programs that make sandboxes of their own, within the sandbox."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.programs.uses.helping import run

if TYPE_CHECKING:
    from pathlib import Path


def test_bubblewrap(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("bound", encoding="utf-8")
    seen = "cat /here/file; echo > /here/new; id -u; ls /; hostname; cat /proc/sys/kernel/ostype"
    bound = ["--ro-bind", "/usr", "/usr", "--dev", "/dev", "--bind", str(tmp_path), "/here"]
    for name in ("bin", "lib", "lib64", "sbin"):
        bound += ["--symlink", f"usr/{name}", f"/{name}"]
    # A writable one would turn root's knobs.
    bound += ["--bind", "/proc", "/proc"] if os.geteuid() == 0 else ["--proc", "/proc"]
    apart = ["--unshare-user", "--unshare-pid", "--unshare-uts", "--unshare-net"]
    apart += ["--hostname", "inner", "--uid", "7"]

    said = run("bwrap", *bound, *apart, "sh", "-c", seen).split()

    assert said[:2] == ["bound7", "bin"]
    assert said[-2:] == ["inner", "Linux"]
    assert "home" not in said
    assert (tmp_path / "new").exists()


def test_unshare(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    inside = f"mount -t tmpfs none {place} && touch {place}/file && ls {place} && echo $$"
    apart = ["--user", "--map-root-user", "--mount", "--pid", "--fork", "--net", "--uts", "--ipc"]

    said = run("unshare", *apart, "sh", "-c", f"{inside}; hostname inner && hostname; id -u")

    assert said == "file\n1\ninner\n0\n"
    assert list(place.iterdir()) == []


def test_nsenter() -> None:
    # Into the namespaces of a process of the same user, by its id.
    script = (
        'coproc unshare --user --map-root-user --uts sh -c "hostname inner; echo ready; cat";'
        'read -r line <&"${COPROC[0]}"; echo $line;'
        "nsenter --target $COPROC_PID --user --uts --preserve-credentials hostname;"
        "kill $COPROC_PID"
    )
    assert run("bash", "-c", script) == "ready\ninner\n"


def test_fakeroot(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()

    # Where an id is not mapped, the kernel says EINVAL to chown(2), and fakeroot waits for EPERM.
    env = {"FAKEROOTDONTTRYCHOWN": "1"}
    change = f"chown 7:8 {file}; stat -c '%u %g' {file}; id -u"
    said = run("fakeroot", "sh", "-c", change, env=env)

    assert said == "7 8\n0\n"
    assert file.stat().st_uid == os.geteuid()
