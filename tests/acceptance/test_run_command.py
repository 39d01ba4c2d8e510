"""`python -m pytest_isolate run`: the exercise's own command line."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.needs("sandbox")

RUN: Final = (sys.executable, "-m", "pytest_isolate", "run")
PATIENCE: Final = 30.0


def run(*arguments: str, **how: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [*RUN, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False, **how
    )


def test_command_keeps_its_output_and_its_status() -> None:
    done = run("--", "sh", "-c", "echo out; echo err >&2; exit 7")

    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 7)


def test_command_reads_standard_input() -> None:
    assert run("--", "cat", input="hello").stdout == "hello"


def test_options_of_the_command_are_its_own() -> None:
    assert run("--hostname", "demo", "sh", "-c", "hostname", "--memory").stdout == "demo\n"


def test_sandbox_holds_another() -> None:
    done = run("--hostname", "outer", *RUN, "--hostname", "inner", "hostname")

    assert (done.stdout, done.stderr, done.returncode) == ("inner\n", "", 0)


def test_environment_is_added() -> None:
    done = run("--env", "JAVA_HOME=/java", "--", "sh", "-c", "echo $JAVA_HOME")

    assert done.stdout == "/java\n"


def test_current_directory_is_kept_and_nothing_is_written_to_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before", encoding="utf-8")
    done = run("--", "sh", "-c", "pwd; echo after >file; cat file", cwd=tmp_path)

    assert done.stdout == f"{tmp_path}\nafter\n"
    assert (tmp_path / "file").read_text(encoding="utf-8") == "before"


@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["nosuch"], 127, "pytest_isolate: nosuch: No such file or directory\n"),
        (["--", "/etc/passwd"], 126, "pytest_isolate: /etc/passwd: Permission denied\n"),
        (["--timeout", "0.3", "sleep", "61"], 124, "Timed out: exceeded its limit of 0.3 s\n"),
        (["sh", "-c", "kill -SEGV $$"], 128 + signal.SIGSEGV, ""),
    ],
)
def test_end_has_its_status_and_one_line(arguments: list[str], status: int, line: str) -> None:
    done = run(*arguments)

    assert (done.returncode, done.stderr) == (status, line)


@pytest.mark.needs("memory")
def test_oom_kill_is_told() -> None:
    done = run("--memory", "64M", "--", sys.executable, "-c", "bytearray(10**9)")

    assert done.returncode == 128 + signal.SIGKILL
    assert done.stderr == ("OOM killed: exceeded its memory cap of 64.0 MiB (peak 64.0 MiB)\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the following arguments are required: CMD"),
        (["--memory", "lots", "true"], "--memory='lots': not a size"),
        (["--rootfs", "/no/such", "true"], "--rootfs='/no/such'"),
        (["--frobnicate", "true"], "--frobnicate"),
    ],
)
def test_wrong_usage_is_told_by_name(arguments: list[str], words: str) -> None:
    done = run(*arguments)

    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_are_passed_on(number: signal.Signals) -> None:
    script = f"trap 'echo heard; exit 5' {number.name[3:]}; echo ready; while :; do sleep 0.1; done"
    process = subprocess.Popen([*RUN, "--", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)

        assert process.stdout.read() == "heard\n"
    assert process.returncode == 5


def test_terminal_is_handed_through_and_ctrl_c_is_the_commands() -> None:
    script = "trap 'echo interrupted; exit 6' INT; tty; echo ready; while :; do sleep 0.1; done"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(RUN[0], [*RUN, "--", "sh", "-c", script])  # noqa: S606  # a shell is what it runs
    seen = ""
    end = time.monotonic() + PATIENCE
    pressed = False
    while time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                seen += os.read(terminal, 4096).decode()
            except OSError:  # the other side is closed
                break
        if "ready" in seen and not pressed:
            os.write(terminal, b"\x03")
            pressed = True
    _, status = os.waitpid(pid, 0)
    os.close(terminal)

    assert "interrupted" in seen
    assert os.waitstatus_to_exitcode(status) == 6


@pytest.fixture
def doctor() -> Callable[..., subprocess.CompletedProcess[str]]:
    def doctor(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest_isolate", "doctor", *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    return doctor
