"""Programs that make terminals, or want one."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.programs.uses.helping import Terminal
from tests.programs.uses.helping import eventually
from tests.programs.uses.helping import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

import pytest


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[list[str]]:
    """Return the command that talks to a server of the test's own."""
    command = ["tmux", "-f", os.devnull, "-S", str(tmp_path / "socket")]
    yield command
    subprocess.run([*command, "kill-server"], capture_output=True, check=False)


def test_tmux(tmux: list[str]) -> None:
    run(*tmux, "new-session", "-d", "-s", "one", "-x", "80", "-y", "24", "sh")
    run(*tmux, "send-keys", "-t", "one", "echo $((6 * 7)); tty", "Enter")

    def shown() -> str:
        return run(*tmux, "capture-pane", "-p", "-t", "one")

    eventually(lambda: "42\n/dev/pts/" in shown())
    with Terminal(*tmux, "attach", "-t", "one") as terminal:
        terminal.expect("/dev/pts/")
        terminal.type("echo $((7 * 7))\r")
        terminal.expect("49")
        run(*tmux, "detach-client", "-s", "one")
        terminal.expect("[detached")
    run(*tmux, "kill-server")


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Return the command that talks to a session of the test's own."""
    # Where its sockets are if not in the /run of the machine.
    place = tmp_path / "screens"
    place.mkdir(mode=0o700)
    monkeypatch.setenv("SCREENDIR", str(place))
    monkeypatch.setenv("SHELL", "/bin/sh")
    command = ["screen", "-S", "one"]
    yield command
    subprocess.run([*command, "-X", "quit"], capture_output=True, check=False)


def test_screen(screen: list[str], tmp_path: Path) -> None:
    place = tmp_path / "screens"
    run(*screen, "-c", os.devnull, "-d", "-m")
    eventually(lambda: list(place.iterdir()))
    command = f"echo $((6 * 7)) > {tmp_path}/new && mv {tmp_path}/new {tmp_path}/said\n"
    run(*screen, "-p", "0", "-X", "stuff", command)

    said = eventually(lambda: (tmp_path / "said").read_text(encoding="utf-8"))
    run(*screen, "-X", "quit")
    eventually(lambda: not list(place.iterdir()))

    assert said == "42\n"


def test_script(tmp_path: Path) -> None:
    record = tmp_path / "record"

    said = run("script", "--quiet", "--return", "--command", "tty; exit 3", record, status=3)

    assert said.startswith("/dev/pts/")
    assert "/dev/pts/" in record.read_text(encoding="utf-8")


def test_expect() -> None:
    script = """
        set timeout 60
        spawn -noecho sh -c {read -p "name? " name; echo "hello $name"}
        expect "name? " {send "you\\r"} timeout {exit 3}
        expect "hello you" {} timeout {exit 4}
        expect eof
        exit [lindex [wait] 3]
    """

    assert "hello you" in run("expect", "-", text=script)


def test_vim(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one\ntwo\n", encoding="utf-8")
    with Terminal(
        "vim.tiny", "-u", "NONE", "-n", "+set shortmess+=F", file.name, cwd=tmp_path
    ) as terminal:
        terminal.expect("two")
        terminal.type(":%s/two/three/\r:wq\r")

        assert terminal.end() == 0
    assert file.read_text(encoding="utf-8") == "one\nthree\n"


def test_less(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("\n".join(f"line {n}" for n in range(1000)), encoding="utf-8")
    with Terminal("less", str(file), env={"LESSHISTFILE": "-"}) as terminal:
        terminal.expect("line 3")
        terminal.type("/line 777\r")
        terminal.expect("line 778")
        terminal.type("q")

        assert terminal.end() == 0


def test_job_control(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with Terminal("bash", "--norc", "--noprofile", "-i", env={"PS1": "$ "}) as terminal:
        terminal.expect("$ ")
        terminal.type(f"cat > {file}\r")
        terminal.type("typed\r")
        eventually(lambda: file.read_text(encoding="utf-8") == "typed\n")
        terminal.type("\x1a")
        terminal.expect("Stopped")
        terminal.type("jobs; fg\r")
        for _ in ("Stopped", "jobs", "fg"):
            terminal.expect("cat >")
        terminal.type("more\r\x04")
        terminal.expect("$ ")
        terminal.type("exit 5\r")

        assert terminal.end() == 5
    assert file.read_text(encoding="utf-8") == "typed\nmore\n"
