"""A test that dies is an ordinary failed test, of the phase that ran, and says why."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Run
    from tests.acceptance.conftest import Suite

#: Each death: the reports' outcomes, the line, and the property `isolate.outcome`.
OOM: Final = "OOM killed: exceeded its memory cap of 60.0 MiB (peak 60.0 MiB)"
TIMEOUT: Final = "Timed out: exceeded its limit of 2 s"
ABORTED: Final = "Crashed: killed by SIGABRT"
IN_SETUP: Final = {"setup": "failed", "teardown": "passed"}
IN_CALL: Final = {"setup": "passed", "call": "failed", "teardown": "passed"}
IN_TEARDOWN: Final = {"setup": "passed", "call": "passed", "teardown": "failed"}
DEATHS: Final = {
    "test_oom": (IN_CALL, OOM, "oom"),
    "test_oom_in_setup": (IN_SETUP, OOM, "oom"),
    "test_oom_in_teardown": (IN_TEARDOWN, OOM, "oom"),
    "test_oom_of_a_child": (IN_TEARDOWN, OOM, "oom"),
    "test_sigkill": (IN_CALL, "Crashed: killed by SIGKILL", "signal SIGKILL"),
    "test_timeout": (IN_CALL, TIMEOUT, "timeout"),
    "test_timeout_deaf_to_signals": (IN_CALL, TIMEOUT, "timeout"),
    "test_timeout_in_teardown": (IN_TEARDOWN | {"call": "failed"}, TIMEOUT, "timeout"),
    "test_abort": (IN_CALL, ABORTED, "signal SIGABRT"),
    "test_sigterm": (IN_CALL, "Crashed: killed by SIGTERM", "signal SIGTERM"),
    "test_exit_0": (IN_CALL, "Exited: left with status 0 before its report", "exit 0"),
    "test_exit_4": (IN_CALL, "Exited: left with status 4 before its report", "exit 4"),
    "test_exec": (IN_CALL, "Exited: left with status 0 before its report", "exit 0"),
    "test_garbage": (IN_CALL, "Isolation failed: read what the test process sent", "isolation"),
    "test_forged_goodbye": (
        IN_CALL,
        "Isolation failed: read what the test process sent: it left without a report",
        "isolation",
    ),
    "test_pipe_closed": (IN_CALL, "Exited: left with status 3 before its report", "exit 3"),
    "test_xfail": (IN_CALL | {"call": "skipped"}, ABORTED, "signal SIGABRT"),
    "test_xfail_strict": (IN_CALL | {"call": "skipped"}, ABORTED, "signal SIGABRT"),
    "test_xfail_of_another_kind": (IN_CALL, ABORTED, "signal SIGABRT"),
    "test_xfail_elsewhere": (IN_CALL, ABORTED, "signal SIGABRT"),
    "test_method": (IN_CALL, ABORTED, "signal SIGABRT"),
    "test_case": (IN_CALL, ABORTED, "signal SIGABRT"),
}


@pytest.fixture(scope="module")
def run(module_suite: Suite) -> Run:
    """Return a run of all deaths."""
    module_suite.copy("deaths", "wire")
    return module_suite.run("--isolate", "-ra")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.needs("memory")] if line == OOM else [])
        for name, (_, line, _) in DEATHS.items()
    ],
)
def test_death_is_the_failure_of_the_phase_that_ran(name: str, run: Run) -> None:
    outcomes, line, word = DEATHS[name]

    reports = run.reports(name)
    assert {when: report["outcome"] for when, report in reports.items()} == outcomes
    texts = [report["text"] for report in reports.values() if report["text"]]
    assert texts[-1].startswith(line)
    assert run.properties[reports["setup"]["nodeid"]]["isolate.outcome"] == word


@pytest.mark.needs("memory")
def test_every_death_has_its_line_in_junitxml(run: Run) -> None:
    text = "\n".join(run.junit)

    for _, line, _ in DEATHS.values():
        assert line in text


def test_what_a_test_had_printed_and_logged_is_in_its_report(run: Run) -> None:
    sections = dict(run.reports("test_abort")["call"]["sections"])

    assert sections["Captured stdout setup"] == "setup out\n"
    assert sections["Captured stdout call"] == "out\nraw \\xff\n"
    assert sections["Captured stderr call"] == "err\n"
    assert "logged" in sections["Captured log call"]


def test_crash_shows_the_stack_of_the_test_and_nothing_of_ours(run: Run) -> None:
    stacks = dict(run.reports("test_abort")["call"]["sections"])["Stacks of all threads"]

    assert "in test_abort" in stacks
    assert "pytest_isolate" not in stacks
    assert "Fatal Python error" not in run.stderr


def test_timeout_shows_where_every_thread_was(suite: Suite) -> None:
    suite.write({
        "stuck": """
            import threading, time

            def wait_in_a_thread(): time.sleep(60)
            def test_stuck():
                threading.Thread(target=wait_in_a_thread, daemon=True).start()
                time.sleep(60)
        """
    })
    run = suite.run("--isolate", "--isolate-timeout=0.5")

    assert "Timed out: exceeded its limit of 0.5 s" in run.output
    assert " in wait_in_a_thread" in run.output
    assert " in test_stuck" in run.output


@pytest.mark.needs("memory")
def test_figures_are_in_a_dead_tests_report(run: Run) -> None:
    figures = dict(run.reports("test_oom")["call"]["sections"])["Figures"]

    assert "memory peak: 60.0 MiB of 60.0 MiB" in figures


def test_xfail_expects_only_the_deaths_that_it_names(run: Run) -> None:
    expected = {
        name: run.reports(name)["call"]["wasxfail"] for name in DEATHS if name.startswith("test_x")
    }

    assert expected == {
        "test_xfail": "known to die",
        "test_xfail_strict": "",
        "test_xfail_of_another_kind": None,
        "test_xfail_elsewhere": None,
    }


def test_leftover_process_neither_delays_nor_speaks_in_the_next_test(run: Run) -> None:
    assert run.outcomes("test_leftover") == IN_CALL | {"call": "passed"}
    assert run.reports("test_after_leftover")["call"]["sections"] == [
        ["Captured stdout call", "mine\n"]
    ]


def test_fork_of_a_test_that_comes_back_is_not_heard(run: Run) -> None:
    assert run.outcomes("test_fork_that_comes_back") == IN_CALL | {"call": "passed"}
    failed = run.reports("test_fork_that_raises")["call"]
    assert "assert 0" in failed["text"]
    assert failed["sections"] == [["Captured stdout call", "mine\n"]]


@pytest.mark.needs("memory")
def test_hook_hears_of_every_end(run: Run, module_suite: Suite) -> None:
    lines = (module_suite.directory / "finished").read_text("utf-8").splitlines()

    ends = dict(line.split(" ", 1) for line in lines)
    assert len(ends) == len(run.properties)
    assert ends["test_oom"] == "OutOfMemory(cap=62914560, peak=62914560, outer=False) True 62914560"
    assert ends["test_abort"] == "Signaled(number=6) True 1073741824"
    assert ends["test_after_leftover"] == "Exited(status=0) True 1073741824"


def test_first_death_ends_a_run_with_exitfirst(suite: Suite) -> None:
    suite.write({"two": "import os\ndef test_a(): os.abort()\ndef test_b(): pass\n"})

    run = suite.run("--isolate", "-x")

    assert run.status == pytest.ExitCode.TESTS_FAILED
    assert run.outcomes("test_b") == {}
    assert "stopping after 1 failures" in run.output


def test_death_is_among_the_last_failed(suite: Suite) -> None:
    suite.write({"two": "import os\ndef test_a(): os.abort()\ndef test_b(): pass\n"})
    suite.run("--isolate", "-p", "cacheprovider")

    run = suite.run("--isolate", "-p", "cacheprovider", "--lf")

    assert run.outcomes("test_a") == IN_CALL
    assert run.outcomes("test_b") == {}


@pytest.mark.parametrize("capture", ["sys", "tee-sys"])
def test_output_captured_in_memory_survives_a_death(capture: str, suite: Suite) -> None:
    suite.write({"one": "import os\ndef test_a(): print('last words'); os.abort()\n"})

    run = suite.run("--isolate", f"--capture={capture}")

    assert ["Captured stdout call", "last words\n"] in run.reports("test_a")["call"]["sections"]


def test_exception_in_a_plugins_hook_is_a_failure_with_its_traceback(suite: Suite) -> None:
    suite.write({
        "one": "def test_a(): pass\ndef test_b(): pass\n",
        "conftest.py": """
            import os
            MAIN = os.getpid()
            def pytest_runtest_makereport(item, call):
                if os.getpid() != MAIN and item.name == "test_a" and call.when == "call":
                    raise ValueError("in a hook")
        """,
    })

    run = suite.run("--isolate")

    report = run.reports("test_a")["call"]
    assert report["text"] == "Isolation failed: run pytest's hooks: ValueError: in a hook"
    assert "pytest_runtest_makereport" in dict(report["sections"])["Internal error"]
    assert run.outcomes("test_b") == IN_CALL | {"call": "passed"}
