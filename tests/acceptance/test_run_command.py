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

pytestmark = [pytest.mark.needs("sandbox"), pytest.mark.any_python]

RUN: Final = (sys.executable, "-m", "pytest_isolate", "run")
PATIENCE: Final = 30.0
#: All but those that cannot be handled, and those that a shell has no trap for.
PASSED_ON: Final = sorted({
    *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM),
    *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT, signal.SIGTSTP),
    *(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGURG, signal.SIGIO, signal.SIGTTIN, signal.SIGPROF),
})
#: Of these, what ends a program that has no handler.
DEADLY: Final = sorted(
    set(PASSED_ON)
    - {signal.SIGWINCH, signal.SIGCONT, signal.SIGURG, signal.SIGTSTP, signal.SIGTTIN}
)


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


@pytest.mark.parametrize("number", PASSED_ON)
def test_signals_are_passed_on(number: signal.Signals) -> None:
    script = f"trap 'echo heard; exit 5' {number.name[3:]}; echo ready; while :; do sleep 0.1; done"
    process = subprocess.Popen([*RUN, "--", "sh", "-c", script], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)

        assert process.stdout.read() == "heard\n"
    assert process.returncode == 5


def test_real_time_signals_are_passed_on_each() -> None:
    script = (
        "import signal, sys, time\n"
        "heard = []\n"
        "for number in (signal.SIGRTMIN + 3, signal.SIGRTMAX):\n"
        "    signal.signal(number, lambda number, _: heard.append(number))\n"
        "print('ready', flush=True)\n"
        "while signal.SIGRTMAX not in heard: time.sleep(0.01)\n"
        "print(heard.count(signal.SIGRTMIN + 3) > 0)\n"
    )
    command = [*RUN, "--", sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(3):
            process.send_signal(signal.SIGRTMIN + 3)
        process.send_signal(signal.SIGRTMAX)

        assert process.stdout.read() == "True\n"
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGALRM, signal.SIGRTMIN])
def test_a_signal_waits_for_the_command_from_the_first_moment_on(number: int) -> None:
    ignoring = f"trap '' {int(number)}; exec \"$@\""
    plain = subprocess.Popen([*RUN, "--", "sh", "-c", "sleep 1; echo over"], stdout=-1, text=True)
    ignored = subprocess.Popen(
        ["sh", "-c", ignoring, "sh", *RUN, "--", "sh", "-c", "sleep 1; echo over"],
        stdout=-1,
        text=True,
    )
    with plain, ignored:
        for process in (plain, ignored):
            wait_until_blocked(process.pid, number)
            process.send_signal(number)

        assert plain.communicate(timeout=PATIENCE)[0] == ""
        assert ignored.communicate(timeout=PATIENCE)[0] == "over\n"
    assert (plain.returncode, ignored.returncode) == (128 + number, 0)


def wait_until_blocked(pid: int, number: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with open(f"/proc/{pid}/status", encoding="utf-8") as file:
            blocked = next(line for line in file if line.startswith("SigBlk"))
        if int(blocked.split()[1], 16) >> (number - 1) & 1:
            return
        time.sleep(0.001)
    raise AssertionError


#: The program with a processor that is busy elsewhere: *late* is called a second late.
SLOWED: Final = """
import sys, time
from pytest_isolate.__main__ import main
from pytest_isolate.sandbox.linux import terminal
from pytest_isolate.sandbox.supervise import execution

def slowly(call, *, after):
    def slow(*arguments):
        made = call(*arguments) if after else None
        sys.stdout.write("here\\n")  # in one piece
        sys.stdout.flush()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            time.sleep(0.01)
        return made if after else call(*arguments)
    return slow

if sys.argv.pop(1) == "parent":
    execution.spawn = slowly(execution.spawn, after=True)
else:
    terminal.become = slowly(terminal.become, after=False)
sys.exit(main())
"""


def slowed(who: str, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SLOWED, who, "run", "--timeout=20", "--", *command],
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", PASSED_ON)
def test_a_signal_is_passed_on_once_before_the_commands_pid_is_known(
    number: signal.Signals,
) -> None:
    name = number.name[3:]
    wait = f"for i in {' '.join('x' * 25)}; do sleep 0.1; done"
    script = f"trap 'echo heard' {name}; echo ready; {wait}; echo over"
    with slowed("parent", "sh", "-c", script) as process:
        assert process.stdout is not None
        assert {process.stdout.readline(), process.stdout.readline()} == {"here\n", "ready\n"}
        process.send_signal(number)

        assert process.stdout.read() == "heard\nover\n"
    assert process.returncode == 0


@pytest.mark.parametrize("number", DEADLY)
def test_a_signal_reaches_the_command_before_it_is_executed(number: signal.Signals) -> None:
    with slowed("child", "sh", "-c", "echo executed; sleep 5") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(number)

        assert process.stdout.read() == ""
    assert process.returncode == 128 + number


def test_ctrl_c_ends_it_in_silence_before_there_is_a_command() -> None:
    code = (
        "import sys, time; from pytest_isolate.__main__ import main; "
        "from pytest_isolate.sandbox.pool import Pool; "
        "Pool.start = lambda: print('here', flush=True) or time.sleep(20); main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "run", "true"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)

        assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == -signal.SIGINT


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
