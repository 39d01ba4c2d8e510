"""`run` hands on what it was given as env(1) does: descriptors, closed streams, what is ignored."""

from __future__ import annotations

from itertools import combinations
import os
from pathlib import Path
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.needs("sandbox"), pytest.mark.any_python]

RUN: Final = shlex.join((sys.executable, "-m", "pytest_isolate", "run", "--"))
PATIENCE: Final = 60.0
REMOVED: Final = "it was removed; change to one that is there"
CLOSED: Final = ("<&-", ">&-", "2>&-")


def bash(
    script: str, directory: Path | None = None, run: str = RUN
) -> subprocess.CompletedProcess[str]:
    """Have bash run *script*, in which `$run` stands for ours."""
    return subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        env={**os.environ, "run": run},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def alike(script: str, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Return what *script* gives by ours, after looking that it gives the same by env(1)."""
    ours, theirs = bash(script, directory), bash(script, directory, "env")
    assert (ours.stdout, ours.stderr, ours.returncode) == (
        theirs.stdout,
        theirs.stderr,
        theirs.returncode,
    )
    return ours


def test_process_substitutions_are_read() -> None:
    done = alike(r"$run diff <(printf 'a\nb\n') <(printf 'a\nc\n')")

    assert done.stdout == "2c2\n< b\n---\n> c\n"
    assert done.returncode == 1


def test_process_substitutions_are_written_to() -> None:
    assert alike("$run tee >(cat >&2) <<<words >/dev/null; wait $!").stderr == "words\n"


def test_files_that_were_opened_are_read_and_written(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("in\n", encoding="utf-8")
    done = alike("$run sh -c 'cat <&9; echo out >&8' 8>out 9<in; cat out", tmp_path)

    assert done.stdout == "in\nout\n"


def test_a_descriptor_above_the_limit_is_handed_on(tmp_path: Path) -> None:
    script = "exec 100>out; ulimit -n 64; $run bash -c 'echo x >&100; exit 4'; echo $?; cat out"

    assert alike(script, tmp_path).stdout == "4\nx\n"


def test_the_command_has_no_descriptor_that_it_was_not_given() -> None:
    listing = "import os; print(*sorted(os.listdir('/proc/self/fd'))[:-1])"
    alike(f"$run {sys.executable} -c {shlex.quote(listing)} 7</dev/null")


def test_a_pipe_ends_when_the_command_closes_it(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = "exec 8>&- >&-; read go; exit 3"
    process = subprocess.Popen(
        ["bash", "-c", f"exec {RUN} bash -c {shlex.quote(script)} 8>{fifo}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process, fifo.open("rb") as reader:
        assert process.stdin is not None
        assert process.stdout is not None
        assert reader.read() == b""
        assert process.stdout.read() == b""
        assert process.poll() is None
        process.stdin.write(b"go\n")
    assert process.returncode == 3


def write_for_a_while(fd: int) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        os.write(fd, b"words")
        time.sleep(0.01)


def test_a_writer_hears_that_the_command_reads_no_more() -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        ["bash", "-c", f"exec {RUN} bash -c 'exec <&-; echo closed; read go <&2'"],
        stdin=reading,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(reading)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"closed\n"
        # The command may be faster than who has started it, and closes its own a moment later.
        with pytest.raises(BrokenPipeError):
            write_for_a_while(writing)
        process.kill()
    os.close(writing)


def test_activated_sockets_are_the_commands() -> None:
    script = "bash -c 'LISTEN_PID=$$ LISTEN_FDS=1 exec $run bash -c \"%s\" 3</dev/null'"
    inside = r"[ \$LISTEN_PID = \$\$ ] && echo \$LISTEN_FDS && readlink /proc/self/fd/3"

    assert alike(script % inside).stdout == "1\n/dev/null\n"


def test_anothers_activated_sockets_stay_anothers() -> None:
    assert alike("LISTEN_PID=1234567 $run sh -c 'echo $LISTEN_PID'").stdout == "1234567\n"


@pytest.mark.parametrize(
    "closed", [some for count in (1, 2, 3) for some in combinations(CLOSED, count)], ids=" ".join
)
def test_streams_that_are_closed_are_closed_for_the_command(closed: tuple[str, ...]) -> None:
    redirections = " ".join(closed)
    script = (
        "import os\n"
        "for fd in range(3):\n"
        "    try: os.fstat(fd); os.write(9, b'%d is open\\n' % fd)\n"
        "    except OSError: pass\n"
        "os._exit(5)"
    )
    command = f"$run {sys.executable} -c {shlex.quote(script)} {redirections}"
    done = alike(f"{{ {command}; }} 9>&1; echo $?")

    assert done.stdout.endswith("5\n")
    assert done.stdout.count("is open") == len(CLOSED) - len(closed)


@pytest.mark.parametrize("redirections", ["2>&-", "2>/dev/full", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("arguments", "status"), [("/no/such", 127), ("/etc/passwd", 126), ("--frobnicate", 2)]
)
def test_what_cannot_be_said_changes_no_status(
    arguments: str, status: int, redirections: str
) -> None:
    command = RUN.removesuffix(" --")

    assert bash(f"{command} {arguments} {redirections}").returncode == status


def test_what_is_ignored_stays_ignored() -> None:
    script = "trap '' HUP INT USR1 TSTP CHLD RTMIN+1; $run grep SigIgn /proc/self/status"
    ours = bash(script).stdout.split()[1]
    ignored = {number for number in range(1, 65) if int(ours, 16) >> (number - 1) & 1}

    names = ("SIGHUP", "SIGINT", "SIGUSR1", "SIGTSTP", "SIGCHLD")
    assert ignored == {*(getattr(signal, name) for name in names), signal.SIGRTMIN + 1}


def test_what_python_ignores_is_not_ignored() -> None:
    assert bash("$run grep SigIgn /proc/self/status").stdout.split()[1] == "0" * 16


def test_no_signal_is_blocked() -> None:
    assert bash("$run grep SigBlk /proc/self/status").stdout.split()[1] == "0" * 16


def test_environment_is_the_callers() -> None:
    # Python adds a variable in the C locale.
    script = "env -i PATH=$PATH LANG=C A=1 $run env | sort | grep -v ^_="

    assert "LC_CTYPE" not in alike(script).stdout


def test_a_script_without_an_interpreter_is_the_shells(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$0 $1"\n', encoding="utf-8")
    script.chmod(0o755)

    assert alike(f"$run {script} one", tmp_path).stdout == f"{script} one\n"


def test_arguments_are_the_commands_as_they_are() -> None:
    assert alike("$run echo -- -x -- --memory ''").stdout == "-- -x -- --memory \n"


@pytest.mark.parametrize(
    ("script", "status", "line"),
    [
        ("$run ''", 127, "pytest_isolate: : No such file or directory"),
        ("PATH=/nowhere $run true", 127, "pytest_isolate: true: No such file or directory"),
        ("$run /tmp/..", 126, "pytest_isolate: /tmp/..: Permission denied"),
        (
            "mkdir gone; cd gone; rmdir ../gone; $run true",
            125,
            f"Isolation failed: find the current directory: {REMOVED}",
        ),
    ],
)
def test_every_failure_is_one_line(script: str, status: int, line: str, tmp_path: Path) -> None:
    done = bash(script, tmp_path)

    assert (done.stderr, done.returncode) == (f"{line}\n", status)
    assert done.stdout == ""


@pytest.mark.parametrize("limit", range(8, 28, 2))
def test_too_few_descriptors_are_one_line_or_enough(limit: int) -> None:
    done = bash(f"ulimit -n {limit}; $run true")

    if done.returncode:
        assert done.returncode == 125
        assert len(done.stderr.splitlines()) == 1
        assert "Too many open files" in done.stderr or "descriptors" in done.stderr
    else:
        assert done.stderr == ""


def keeper_of(pid: int) -> int:
    """Return the keeper of the process *pid*, as soon as there is one."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split():
            if b"sandbox.keeper" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        time.sleep(0.001)
    raise AssertionError


@pytest.mark.parametrize("is_running", [False, True])
def test_death_of_the_keeper_is_one_line(*, is_running: bool) -> None:
    process = subprocess.Popen(
        [*shlex.split(RUN), "sh", "-c", "echo ready; sleep 60"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        if is_running:
            assert process.stdout.readline() == "ready\n"
        os.kill(keeper_of(process.pid), signal.SIGKILL)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 125
    words = "the keeper of the sandboxes is gone: it left no words; something may have killed it"
    assert len(said.splitlines()) == 1
    assert words in said


@pytest.fixture
def help_texts() -> Callable[[str], subprocess.CompletedProcess[str]]:
    program = RUN.removesuffix(" run --")

    def help_texts(script: str) -> subprocess.CompletedProcess[str]:
        return bash(script.replace("$program", program))

    return help_texts


@pytest.mark.parametrize("arguments", ["--help", "run --help", "doctor --help", "doctor"])
def test_readers_may_leave_and_streams_may_be_closed(
    arguments: str, help_texts: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    piped = help_texts(f"$program {arguments} | head -c 1; echo ${{PIPESTATUS[0]}}")
    assert piped.stderr == ""
    assert piped.stdout[1:] in {"0\n", "1\n"}
    early = help_texts(f"$program {arguments} | exec <&-; echo ${{PIPESTATUS[0]}}")
    assert early.stderr == ""
    assert help_texts(f"$program {arguments} >&-").stderr == ""


@pytest.mark.parametrize("arguments", ["--help", "run --help", "doctor"])
def test_a_full_disk_is_told(
    arguments: str, help_texts: Callable[[str], subprocess.CompletedProcess[str]]
) -> None:
    done = help_texts(f"$program {arguments} >/dev/full")

    assert done.stderr == "pytest_isolate: standard output: No space left on device\n"
    assert done.returncode == 1
