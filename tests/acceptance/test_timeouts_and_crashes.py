"""A test that runs too long or crashes says where it was in every thread, and who was with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Run
    from tests.acceptance.conftest import Suite
    from tests.conftest import Footprint

LIMIT: Final = "Timed out: exceeded its limit of 2 s"
#: Each death: the phase, the line, and the functions that were running, the outermost last.
DEATHS: Final = {
    "test_stuck_in_setup": ("setup", LIMIT, ["stuck"]),
    "test_stuck_in_call": ("call", LIMIT, ["test_stuck_in_call"]),
    "test_stuck_in_teardown": ("teardown", LIMIT, ["stuck_later"]),
    "test_gil_is_held": ("call", LIMIT, ["backtrack", "test_gil_is_held"]),
    "test_sigterm_is_blocked": ("call", LIMIT, ["block", "test_sigterm_is_blocked"]),
    "test_loops_in_a_handler": ("call", LIMIT, ["loop", "test_loops_in_a_handler"]),
    "test_ignores_every_signal": ("call", LIMIT, ["test_ignores_every_signal"]),
    "test_threads": ("call", LIMIT, [*["wait_in_a_thread"] * 3, "join", "test_threads"]),
    "test_family": ("call", LIMIT, ["run", "test_family"]),
    "test_sigsegv": ("call", "Crashed: killed by SIGSEGV", ["null", "test_sigsegv"]),
    "test_sigbus": ("call", "Crashed: killed by SIGBUS", ["bus", "test_sigbus"]),
    "test_sigfpe": ("call", "Crashed: killed by SIGFPE", ["send", "test_sigfpe"]),
    "test_sigill": ("call", "Crashed: killed by SIGILL", ["send", "test_sigill"]),
    "test_sigabrt": ("call", "Crashed: killed by SIGABRT", ["abort", "test_sigabrt"]),
    "test_stack_overflow": ("call", "Crashed: killed by SIGSEGV", ["test_stack_overflow"]),
    "test_crash_of_a_thread": (
        "call",
        "Crashed: killed by SIGABRT",
        ["abort", "test_crash_of_a_thread"],
    ),
    "test_crash_with_company": (
        "call",
        "Crashed: killed by SIGSEGV",
        ["null", "test_crash_with_company"],
    ),
}


@pytest.fixture(scope="module")
def run(module_suite: Suite) -> Run:
    """Return a run of all deaths."""
    module_suite.copy("timeouts_and_crashes")
    return module_suite.run("--isolate", "-p", "no:cacheprovider")


def sections(run: Run, name: str) -> dict[str, str]:
    """Return the sections of the report of the death."""
    return dict(run.reports(name)[DEATHS[name][0]]["sections"])


@pytest.mark.parametrize("name", DEATHS)
def test_death_is_told_of_in_the_phase_that_ran(name: str, run: Run) -> None:
    phase, line, _ = DEATHS[name]

    failed = {
        when: one["text"] for when, one in run.reports(name).items() if one["outcome"] == "failed"
    }
    assert failed == {phase: line}


@pytest.mark.parametrize("name", DEATHS)
def test_stacks_show_every_thread(name: str, run: Run) -> None:
    wanted = DEATHS[name][2]

    stacks = sections(run, name)["Stacks of all threads"]
    functions = re.findall(r" in (\w+)$", stacks, re.MULTILINE)
    found = [one for one in functions if one in wanted]
    assert found == wanted
    assert "_pytest" not in stacks


@pytest.mark.parametrize(
    ("name", "function", "code"),
    [
        ("test_stuck_in_setup", "stuck", "time.sleep(60)"),
        ("test_threads", "test_threads", "threads[0].join()"),
        ("test_sigsegv", "null", "ctypes.string_at(0)"),
    ],
)
def test_stacks_have_the_code(name: str, function: str, code: str, run: Run) -> None:
    lines = sections(run, name)["Stacks of all threads"].splitlines()

    above = lines[lines.index(f"    {code}") - 1]
    assert re.fullmatch(rf'  File ".*/test_ends\.py", line \d+ in {function}', above)


@pytest.mark.needs("sandbox")
def test_processes_that_were_alive_are_listed(run: Run) -> None:
    timeout = sections(run, "test_family")
    crash = sections(run, "test_crash_with_company")["Processes"].splitlines()

    assert timeout["Captured stdout call"] == "said\n"
    commands = [
        line.partition("iB  ")[2].partition("iB  ")[2]
        for line in timeout["Processes"].splitlines()[1:]
    ]
    assert "the test" in commands
    assert {"sleep 601", "sleep 602"} <= set(commands)
    assert crash[0].split() == ["pid", "RSS", "PSS", "command"]
    assert crash[1].endswith("sleep 603")
    assert len(crash) == 2


@pytest.mark.needs("pids")
def test_figures_are_there_after_everything_was_killed(run: Run) -> None:
    figures = sections(run, "test_family")["Figures"]

    assert re.search(r"^memory peak: [\d.]+ MiB of 1\.0 GiB$", figures, re.MULTILINE)
    assert re.search(r"^most processes and threads at once: [4-9]$", figures, re.MULTILINE)


def test_grandchildren_die_with_the_test(suite: Suite, footprint: Footprint) -> None:
    suite.write({
        "family": """
            import subprocess, time

            def test_family():
                subprocess.Popen(["sh", "-c", "setsid sh -c 'setsid sleep 604 & sleep 605' &"])
                time.sleep(60)
        """
    })

    run = suite.run("--isolate", "--isolate-timeout=1", ISOLATE_TEST_TOKEN=footprint.token)

    assert run.outcomes("test_family")["call"] == "failed"
    assert "sleep 604" in run.output
    assert footprint.left() == []


def test_the_main_thread_is_shown_while_others_run_on(suite: Suite) -> None:
    suite.write({
        "busy": """
            import pathlib, pytest, threading, time
            def read():
                pathlib.Path("/proc/self/stat").read_text("utf-8")
                time.sleep(0.0001)
            def loop():
                while True: read()
            @pytest.mark.isolated(timeout=0.4)
            @pytest.mark.parametrize("number", range(16))
            def test_waits(number):
                for _ in range(3): threading.Thread(target=loop, daemon=True).start()
                time.sleep(60)
        """
    })

    run = suite.run()

    for number in range(16):
        shown = dict(run.reports(f"test_waits[{number}]")["call"]["sections"])[
            "Stacks of all threads"
        ]
        assert " in test_waits" in shown
        assert "Fatal Python error" not in shown
