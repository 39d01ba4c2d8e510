"""What pytest and Python do only at their end is done at each test's, and told as the test's."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Run
    from tests.acceptance.conftest import Suite

GUILTY: Final = {
    "test_file": "unclosed file",
    "test_never_awaited": "work",
    "test_del": "Angry.__del__",
    "test_in_a_thread": "Angry.__del__",
    "test_value_of_a_fixture": "Angry.__del__",
    "test_frame_of_a_failure": "Angry.__del__",
    "test_older_than_a_collection": "Angry.__del__",
    "test_collector_is_off": "Angry.__del__",
    "test_collects_itself": "Angry.__del__",
    "test_looks_around": "Angry.__del__",
}


@pytest.fixture(scope="module")
def strict(module_suite: Suite) -> Run:
    """Return a run of all that leave garbage, where warnings are errors."""
    module_suite.copy("endings/garbage")
    return module_suite.run("--isolate", "-Werror", "-p", "no:cacheprovider")


@pytest.mark.parametrize("name", GUILTY)
def test_what_the_last_collection_finds_fails_the_test_that_made_it(name: str, strict: Run) -> None:
    teardown = strict.reports(name)["teardown"]

    assert teardown["outcome"] == "failed"
    assert GUILTY[name] in teardown["text"]
    assert "_pytest/runner.py" not in teardown["text"]


def test_other_tests_do_not_fail_for_it(strict: Run) -> None:
    assert set(strict.outcomes("test_innocent").values()) == {"passed"}
    assert strict.status == 1
    assert f"1 failed, {len(GUILTY)} passed, {len(GUILTY)} errors" in strict.output


def test_failed_teardown_stands_for_the_one_that_had_passed(strict: Run) -> None:
    seen = [
        event["outcome"]
        for event in strict.events
        if event["hook"] == "report"
        and event["when"] == "teardown"
        and event["nodeid"].endswith("::test_del")
    ]

    assert seen == ["failed"]
    assert sum("'name': 'test_del'" in line for line in strict.junit) == 1


def test_what_the_last_collection_finds_is_the_warning_of_the_test(suite: Suite) -> None:
    suite.copy("endings/garbage")

    run = suite.run("--isolate", "-Walways", "-k", "file or never_awaited or test_del or innocent")

    warned = {
        (event["nodeid"].partition("::")[2], event["category"])
        for event in run.events
        if event["hook"] == "warning"
    }
    assert run.status == 0
    assert warned == {
        ("test_file", "ResourceWarning"),
        ("test_never_awaited", "RuntimeWarning"),
        ("test_del", "PytestUnraisableExceptionWarning"),
    }


@pytest.mark.needs("memory")
def test_last_collection_does_not_copy_what_was_imported(suite: Suite) -> None:
    suite.write({"heap": "HEAP = [[[]] for _ in range(500_000)]\ndef test_small(): pass\n"})

    run = suite.run("--isolate")

    (figures,) = run.properties.values()
    assert int(figures["isolate.memory_peak"]) < 20 * 1024**2  # of a heap of 70 MiB


def test_garbage_collector_shows_what_it_shows_without_isolation(suite: Suite) -> None:
    suite.copy("endings/collector")

    plain, isolated = suite.twice("-p", "no:cacheprovider")

    assert isolated.status == 0, isolated.output
    assert isolated == plain


def test_cleanups_that_a_test_adds_are_called_at_its_end(suite: Suite) -> None:
    suite.copy("endings/cleanups")
    suite.write({
        "conftest.py": """
            def pytest_configure(config):
                config.add_cleanup(lambda: print("\\nthe session's"))
        """
    })

    run = suite.run("--isolate", "-s")

    assert run.output.count("firstlast") == 1
    assert run.output.index("firstlast") < run.output.index("still called")
    assert run.output.count("the session's") == 1


def test_cleanup_that_fails_is_a_failed_teardown(suite: Suite) -> None:
    suite.copy("endings/cleanups")

    run = suite.run("--isolate")

    teardown = run.reports("test_fails_to")["teardown"]
    assert "OSError: cannot clean up" in teardown["text"]
    assert teardown["sections"] == [["Captured stdout teardown", "still called\n"]]
    assert "3 passed, 1 error" in run.output


QUEUE: Final = """
    import logging, logging.handlers, multiprocessing

    def test_many_lines():
        handler = logging.handlers.QueueHandler(multiprocessing.Queue())
        log = logging.getLogger("pump")
        log.addHandler(handler)
        for _ in range(2000):
            log.error("pressure is too high in the boiler of the second floor")
        log.removeHandler(handler)
    def test_next(): pass
"""


def told_of(run: Run) -> dict[str, str]:
    """Return what is warned of, by test."""
    return {
        event["nodeid"].partition("::")[2]: event["text"]
        for event in run.events
        if event["hook"] == "warning"
    }


def test_queue_that_nobody_reads_is_cut_off(suite: Suite) -> None:
    suite.write({"log": QUEUE})

    run = suite.run("--isolate", "-Werror")

    assert (run.status, list(told_of(run))) == (0, ["test_many_lines"])
    told = told_of(run)["test_many_lines"]
    assert told.startswith(
        "what the test left for Python's exit did not end in 5 s and was cut off; it was in "
    )
    assert told.endswith("; threads: QueueFeederThread (daemon)")
    assert "2 passed, 1 warning" in run.output


CUT_OFF: Final = {
    "test_function_that_sleeps": "it was in for_ever (",
    "test_function_that_spins": "it was in busy (",
    "test_function_that_joins_a_thread": "; threads: looper (daemon)",
    "test_thread": "; threads: looper",
    "test_executor": "; threads: looper_0",
    "test_asyncio": "; threads: asyncio_0",
    "test_process": "; processes: looper (pid ",
    "test_processes": "; processes: ",
    "test_queue": "; threads: QueueFeederThread (daemon)",
    "test_finalizer": "it was in for_ever (",
}
RAISED: Final = {
    "test_function_that_raises",
    "test_finalizer_that_raises",
    "test_thread_that_raises",
}
DEATHS: Final = {
    "test_function_that_leaves_with_a_status": "Exited: left with status 3 at its exit",
    "test_function_that_crashes": "Crashed: killed by SIGABRT",
    "test_limit_comes_first": "Timed out: exceeded its limit of 0.3 s",
}


@pytest.fixture(scope="module")
def exits(module_suite: Suite) -> Run:
    """Return a run of all that leave something for Python's exit, with a short limit."""
    module_suite.copy("endings/exits")
    return module_suite.run("--isolate", "-Werror", "-p", "no:cacheprovider", "-k", "exits.py")


@pytest.mark.parametrize("name", CUT_OFF)
def test_what_does_not_end_is_cut_off_and_told(name: str, exits: Run) -> None:
    told = told_of(exits)[name]

    assert "did not end in 1 s and was cut off; " in told
    assert CUT_OFF[name] in told
    assert "\n" not in told
    assert set(exits.outcomes(name).values()) == {"passed"}


@pytest.mark.parametrize("name", sorted(RAISED))
def test_what_is_raised_at_exit_is_told(name: str, exits: Run) -> None:
    told = told_of(exits)[name]

    assert told.startswith("raised at the exit of the test's process:\n")
    assert "ValueError: invalid literal for int()" in told
    assert "pytest_isolate" not in told
    assert set(exits.outcomes(name).values()) == {"passed"}


def test_what_ends_by_itself_is_not_told(exits: Run) -> None:
    assert set(told_of(exits)) == RAISED | set(CUT_OFF)
    assert "the parent's" not in exits.stderr
    assert exits.output.count("the parent's") <= 1  # at pytest's own exit


@pytest.mark.parametrize("name", DEATHS)
def test_death_at_exit_fails_the_teardown(name: str, exits: Run) -> None:
    reports = exits.reports(name)

    assert reports["call"]["outcome"] == "passed"
    assert reports["teardown"]["text"] == DEATHS[name]
    stacks = dict(reports["teardown"]["sections"]).get("Stacks of all threads", "")
    assert "pytest_isolate" not in stacks
