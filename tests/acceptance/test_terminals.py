"""`run` at a terminal: a job among others, as the command itself would be."""

# Commands that are stopped are bash's: dash starts programs by vfork(2), and while one that was
# stopped too early has not been executed dash does not stop.

from __future__ import annotations

import os
from pathlib import Path
import signal
import time
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Terminal
    from tests.conftest import Footprint

pytestmark = [pytest.mark.needs("sandbox"), pytest.mark.any_python]

PATIENCE: Final = 30.0
#: Tells of each signal that it gets, and goes on. Its words are not in what is typed.
COUNTING: Final = """
import os, signal, sys, time
heard = []
for name in sys.argv[1:]:
    signal.signal(getattr(signal, name), lambda number, _: heard.append(number))
print("here", "we", "are", flush=True)
end = time.monotonic() + 60
told = 0
while time.monotonic() < end:
    time.sleep(0.02)
    while told < len(heard):
        print("<heard", signal.Signals(heard[told]).name + ">", flush=True)
        told += 1
        if heard[told - 1] == signal.SIGTERM:
            time.sleep(1)  # for a second one
            print("total", len(heard), flush=True)
            os._exit(3)
"""
#: Tells all the time that it runs.
TICKING: Final = "for i in {1..600}; do echo at-$i; sleep 0.1; done"


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def state(pid: int) -> str:
    """Return `S`, `T` and so on, see proc_pid_stat(5)."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0]


def ask(bash: Terminal, question: str) -> str:
    """Return what bash answers, which has to be at its prompt."""
    bash.type(f"echo '<'\"{question}\"'>'\n")
    bash.expect("\n<")
    answer = bash.expect(">\n")
    bash.expect("$ ")
    return answer


def test_a_job_in_the_background_leaves_the_terminal_alone(bash: Terminal) -> None:
    bash.type("run -- sleep 3 &\n")
    bash.expect("$ ")
    for _ in range(20):
        assert ask(bash, "here") == "here"
        time.sleep(0.05)
    bash.type("wait $!; echo status=$?\n")
    bash.expect("\nstatus=0\n")


def test_ctrl_z_stops_it_and_fg_and_bg_let_it_go_on(bash: Terminal) -> None:
    bash.type(f"run -- bash -c '{TICKING}'\n")
    for _ in range(2):
        bash.expect("\nat-")  # after `fg` it is not in the foreground before
        bash.type("\x1a")
        bash.expect("Stopped")
        bash.expect("$ ")
        assert ask(bash, "here") == "here"
        bash.type("fg\n")
    bash.expect("\nat-")
    bash.type("\x1a")
    bash.expect("Stopped")
    bash.expect("$ ")
    bash.type("bg\n")
    bash.expect("\nat-")
    bash.type("kill %1; wait %1; echo status=$?.\n")
    bash.expect("status=143.\n")


def test_what_is_stopped_does_not_run(bash: Terminal) -> None:
    bash.type(f"run -- bash -c '{TICKING}'\n")
    bash.expect("at-3\n")
    bash.type("\x1a")
    bash.expect("Stopped")
    bash.expect("$ ")
    seen = len(bash.seen)
    bash.type("sleep 1; echo sl''ept\n")
    bash.expect("slept\n")
    assert "at-" not in bash.seen[seen:]
    bash.expect("$ ")
    bash.type("fg\n")
    bash.expect("\nat-")
    bash.type("\x03")
    bash.expect("$ ")
    assert ask(bash, "$?") == "130"


def test_ctrl_c_reaches_the_command_once(bash: Terminal) -> None:
    program = Path("counting.py")
    bash.type(f"cat >{program} <<'END'\n{COUNTING}\nEND\n")
    bash.expect("$ ")
    bash.type(f"run -- python3 {program} SIGINT SIGQUIT SIGTERM\n")
    bash.expect("here we are")
    bash.type("\x03")
    bash.expect("<heard SIGINT>")
    bash.type("\x1c")
    bash.expect("<heard SIGQUIT>")
    bash.type("\x1a")
    bash.expect("Stopped")
    bash.expect("$ ")
    bash.type("kill %1; fg\n")
    bash.expect("<heard SIGTERM>")
    bash.expect("total 3\n")
    bash.expect("$ ")
    assert ask(bash, "$?") == "3"


@pytest.mark.parametrize("target", ["%1", "$!"])
def test_a_signal_to_the_job_and_one_to_its_process_arrive_once(
    bash: Terminal, target: str
) -> None:
    bash.type(f"cat >counting.py <<'END'\n{COUNTING}\nEND\n")
    bash.expect("$ ")
    bash.type("run -- python3 counting.py SIGUSR1 SIGCONT SIGWINCH SIGTERM &\n")
    bash.expect("here we are")
    for name in ("USR1", "CONT", "WINCH", "USR1"):
        bash.type(f"kill -{name} {target}\n")
        bash.expect(f"<heard SIG{name}>")
    bash.type(f"kill {target}\n")
    bash.expect("<heard SIGTERM>")
    bash.expect("total 5\n")


def test_a_pager_at_the_end_of_a_pipe_has_the_terminal(bash: Terminal) -> None:
    bash.type("run -- sh -c 'seq 2000; sleep 5' | TERM=vt100 less\n")
    bash.expect("\n10\n")
    bash.type(" ")  # the next page, or what a dumb terminal asks for
    bash.type(" ")
    bash.expect("\n40\n")
    bash.type("q")
    bash.expect("$ ")
    assert ask(bash, "here") == "here"


def test_the_command_may_be_the_pager(bash: Terminal) -> None:
    bash.type("seq 2000 | run --env TERM=vt100 -- less\n")
    bash.expect("\n10\n")
    bash.type("  ")
    bash.expect("\n40\n")
    bash.type("q")
    bash.expect("$ ")
    assert ask(bash, "here") == "here"


def test_reading_the_terminal_from_the_background_stops_the_job(bash: Terminal) -> None:
    bash.type("run -- sh -c 'read line; echo \"got <$line>\"' &\n")
    bash.expect("$ ")

    def is_told() -> bool:
        bash.type("jobs\n")
        bash.expect("$ ")
        return "Stopped" in bash.seen

    until(is_told)
    bash.type("fg; echo en''ded\n")
    bash.expect("fg; echo")
    bash.expect("read line")
    bash.type("words\n")
    bash.expect("got <words>")


def test_a_shell_inside_has_job_control(bash: Terminal) -> None:
    bash.type("run -- bash --norc --noprofile -i\n")
    prompt = "# " if os.geteuid() == 0 else "$ "
    assert "job control" not in bash.expect(prompt)
    bash.type(f"bash -c '{TICKING}'\n")
    bash.expect("\nat-")
    bash.type("\x1a")
    bash.expect("Stopped")
    bash.expect(prompt)
    bash.type("fg\n")
    bash.expect("\nat-")
    bash.type("\x03")
    bash.expect(prompt)
    bash.type("suspend\n")
    bash.expect("Stopped")
    bash.expect("$ ")
    assert ask(bash, "here") == "here"
    bash.type("fg\n")
    bash.expect(prompt)
    bash.type("echo in''side; exit 9\n")
    bash.expect("inside\n")
    bash.expect("$ ")
    assert ask(bash, "$?") == "9"


def test_ctrl_c_ends_a_loop_of_runs(bash: Terminal) -> None:
    bash.type("for i in 1 2 3; do run -- sh -c 'echo round-'$i'-; sleep 20'; done\n")
    bash.expect("round-1-\n")
    bash.type("\x03")
    bash.expect("$ ")
    assert "round-2-\n" not in bash.seen


def test_a_script_has_its_terminal_after_a_shell_inside(bash: Terminal, tmp_path: Path) -> None:
    script = '"$@" bash --norc -i\nread line; echo "got <$line>"\n'
    (tmp_path / "script").write_text(script, encoding="utf-8")
    bash.type("bash ./script ${BASH_ALIASES[run]}\n")
    bash.expect("# " if os.geteuid() == 0 else "$ ")
    bash.type("exit\n")
    bash.expect("\nexit\n")
    bash.type("words\n")
    bash.expect("got <words>")


def test_modes_that_the_command_sets_stay(bash: Terminal) -> None:
    bash.type('bash -c "${BASH_ALIASES[run]} stty -echoctl; stty -a"\n')
    bash.expect("-echoctl")


def test_modes_are_as_before_if_it_is_killed(bash: Terminal) -> None:
    bash.type(
        "bash -c \"${BASH_ALIASES[run]} --timeout 1 -- sh -c 'stty -echo; sleep 60'; stty -a\"\n"
    )
    bash.expect("Timed out")
    bash.expect(" echo ")


def test_jobs_of_make_side_by_side(bash: Terminal, tmp_path: Path) -> None:
    (tmp_path / "Makefile").write_text(
        "all: one two three\none two three:\n\t$(RUN) sh -c 'sleep 0.5; echo made-$@'\n",
        encoding="utf-8",
    )
    bash.type('make -s -j3 RUN="${BASH_ALIASES[run]} --"; echo status=$?\n')
    said = bash.expect("\nstatus=0\n")
    assert sorted(line for line in said.splitlines() if line.startswith("made-")) == [
        "made-one",
        "made-three",
        "made-two",
    ]
    assert ask(bash, "here") == "here"


def test_nohup_survives_the_end_of_its_terminal(bash: Terminal, tmp_path: Path) -> None:
    bash.type(
        "nohup ${BASH_ALIASES[run]} -- sh -c 'echo begun; sleep 2; echo survived' >out 2>&1 &\n"
    )
    out = tmp_path / "out"
    until(lambda: out.exists() and "begun" in out.read_text(encoding="utf-8"))
    bash.hang_up()
    until(lambda: "survived" in out.read_text(encoding="utf-8"))


def test_without_nohup_the_end_of_the_terminal_is_told_to_the_command(
    bash: Terminal, tmp_path: Path
) -> None:
    script = "trap 'echo hung up; exit' HUP; echo begun; while :; do sleep 0.1; done"
    bash.type(f'run --writable {tmp_path} -- sh -c "{script}" >out\n')
    out = tmp_path / "out"
    until(lambda: out.exists() and "begun" in out.read_text(encoding="utf-8"))
    bash.hang_up()
    until(lambda: "hung up" in out.read_text(encoding="utf-8"))


def test_a_shell_inside_ends_with_its_job_and_with_the_terminal(
    bash: Terminal, footprint: Footprint
) -> None:
    prompt = "# " if os.geteuid() == 0 else "$ "
    bash.type(f"export ISOLATE_TEST_TOKEN={footprint.token}; :\n")
    bash.type("run -- bash --norc --noprofile -i\n")
    bash.expect("--noprofile -i\n")
    bash.expect(prompt)
    bash.type("suspend\n")
    bash.expect("Stopped")
    bash.expect("$ ")
    bash.type("kill -HUP %1; fg; echo status=$?\n")
    bash.expect("\nstatus=129\n")
    bash.type("run -- bash --norc --noprofile -i\n")
    bash.expect("--noprofile -i\n")
    bash.expect(prompt)
    bash.hang_up()


def test_stopping_and_continuing_by_process_id(bash: Terminal) -> None:
    bash.type("run -- bash -c 'echo be''gun; exec sleep 60' & echo \"pid=$!.\"\n")
    bash.expect("\npid=")
    runner = int(bash.expect("."))
    bash.expect("begun")
    os.kill(runner, signal.SIGTSTP)
    until(lambda: state(runner) == "T")
    os.kill(runner, signal.SIGCONT)
    until(lambda: state(runner) != "T")
    os.killpg(runner, signal.SIGSTOP)
    until(lambda: state(runner) == "T")
    os.kill(runner, signal.SIGCONT)
    os.kill(runner, signal.SIGTERM)
    # Bash may not have heard yet that it goes on: a plain `wait` would return for the stop.
    bash.type("wait -f $!; echo status=$?\n")
    bash.expect("status=143\n")
