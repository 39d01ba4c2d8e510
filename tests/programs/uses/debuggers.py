"""Debuggers and tracers: what stops, reads and counts other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING
from typing import Final

from tests.programs.uses.helping import eventually
from tests.programs.uses.helping import found
from tests.programs.uses.helping import run

if TYPE_CHECKING:
    from pathlib import Path

_SOURCE: Final = """
#include <stdlib.h>
#include <string.h>
int fail(int n) { if (n == 3) abort(); return n; }
int main(int argc, char **argv) {
    char *lost = malloc(100);
    strcpy(lost, "lost");
    return argc > 1 ? fail(atoi(argv[1])) : 0;
}
"""


def _compiled(place: Path) -> Path:
    source = place / "main.c"
    source.write_text(_SOURCE, encoding="utf-8")
    run("gcc", "-g", "-O0", "-o", place / "main", source)
    return place / "main"


def test_gdb(tmp_path: Path) -> None:
    program = _compiled(tmp_path)
    commands = ["-ex", "break fail", "-ex", "run", "-ex", "print n", "-ex", "continue", "-ex", "bt"]

    said = run("gdb", "-nx", "-batch", *commands, "--args", program, "3")

    assert "$1 = 3" in said
    assert "SIGABRT" in said
    assert "main (argc=2" in said


def test_gdb_attach(tmp_path: Path) -> None:
    # Allowed of a child of its own by Yama too, if the child says so.
    ask = "import ctypes, time; ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_ulong(-1), 0, 0, 0)"
    program = [sys.executable, "-c", f"{ask}; print('asleep', flush=True); time.sleep(600)"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, cwd=tmp_path) as sleeper:
        assert sleeper.stdout
        assert sleeper.stdout.readline() == b"asleep\n"
        eventually(lambda: _state(sleeper.pid) == "S")

        said = run("gdb", "-nx", "-batch", "-p", str(sleeper.pid), "-ex", "info threads")
        sleeper.kill()

    assert f"(LWP {sleeper.pid})" in said or f"process {sleeper.pid}" in said


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(") ")[2][0]


def test_strace(tmp_path: Path) -> None:
    out = tmp_path / "out"

    run("strace", "-f", "-e", "trace=%process,write", "-o", out, "sh", "-c", "echo hi; /bin/true")

    said = out.read_text(encoding="utf-8")
    assert 'write(1, "hi\\n", 3)' in said
    assert 'execve("/bin/true"' in said
    assert "+++ exited with 0 +++" in said


def test_ltrace(tmp_path: Path) -> None:
    program, out = _compiled(tmp_path), tmp_path / "out"

    run("ltrace", "-o", out, program, "5")

    said = out.read_text(encoding="utf-8")
    assert "malloc(100)" in said
    assert "+++ exited (status 5) +++" in said


def test_valgrind(tmp_path: Path) -> None:
    said = run("valgrind", "--leak-check=full", "--error-exitcode=9", _compiled(tmp_path), status=9)

    assert "100 bytes in 1 blocks are definitely lost" in said


def test_lsof(tmp_path: Path) -> None:
    with (tmp_path / "open").open("w", encoding="utf-8") as file:
        said = run("lsof", "-w", "-a", "-p", str(os.getpid()), "-d", str(file.fileno()), "-Fn")

    assert f"n{tmp_path}/open" in said


def test_procps() -> None:
    # `ps` of a process, its parent and its arguments, as scripts ask for it.
    with subprocess.Popen(["sleep", "599"]) as sleeper:
        eventually(lambda: "sleep" in run("ps", "-o", "comm=", "-p", str(sleeper.pid)))
        parent = run("ps", "-o", "ppid=", "-p", str(sleeper.pid))
        named = run("pgrep", "-P", str(os.getpid()), "-x", "sleep")
        run(found("pkill"), "-P", str(os.getpid()), "-x", "sleep")

        assert sleeper.wait(60) == -15
    assert int(parent) == os.getpid()
    assert named == f"{sleeper.pid}\n"
    assert "load average" in run("uptime")
    assert "Mem:" in run("free", "-m")
