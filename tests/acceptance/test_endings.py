"""What pytest and Python do only at their end is done at each test's, and told as the test's."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Run
    from tests.acceptance.conftest import Suite

GARBAGE: Final = """
    import gc, pytest

    class Node:
        def __init__(self): self.me = self
    async def work(): pass
    class Angry(Node):
        def __del__(self): raise ValueError("not collected while the test ran")

    def test_file(tmp_path): Node().file = open(tmp_path / "x", "w")
    def test_never_awaited(): Node().work = work()
    def test_del(): Angry()
    def test_in_a_thread():
        import threading
        thread = threading.Thread(target=Angry); thread.start(); thread.join()
    @pytest.fixture
    def angry(): return Angry()
    def test_value_of_a_fixture(angry): pass
    def test_frame_of_a_failure():
        angry = Angry()
        assert 0
    def test_older_than_a_collection():
        angry = Angry()
        many = [[] for _ in range(100_000)]
    def test_collector_is_off():
        gc.disable()
        Angry()
    def test_collects_itself():
        gc.collect()
        Angry()
    def test_looks_around():
        gc.get_objects()
        Angry()
    def test_innocent(): pass
"""
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
    module_suite.write({"garbage": GARBAGE})
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
    suite.write({"garbage": GARBAGE})

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
    suite.write({
        "gc": """
            import gc, weakref
            from gc import get_referrers

            class Node:
                def __init__(self): self.me = self
            VALUE = Node()
            HOLDERS = [VALUE]
            CYCLES = [Node() for _ in range(3)]

            def test_objects_of_the_import_are_shown():
                assert any(one is VALUE for one in gc.get_objects())
            def test_their_referrers_are_shown():
                assert any(one is HOLDERS for one in gc.get_referrers(VALUE))
            def test_function_that_was_imported_shows_them():
                assert any(one is HOLDERS for one in get_referrers(VALUE))
            def test_they_are_collected():
                ref = weakref.ref(CYCLES.pop())
                assert ref() is not None
                gc.collect()
                assert ref() is None
            def test_nothing_is_frozen():
                assert gc.get_freeze_count() < 1000  # Python 3.12 freezes some at its start
                assert gc.isenabled()
            def test_what_a_test_freezes_is_not_collected():
                node = Node()
                ref = weakref.ref(node)
                gc.freeze()
                assert gc.get_freeze_count() > 1000
                del node
                gc.collect()
                assert ref() is not None
                gc.unfreeze()
                assert gc.get_freeze_count() == 0
                gc.collect()
                assert ref() is None
        """
    })

    plain, isolated = suite.twice("-p", "no:cacheprovider")

    assert isolated.status == 0, isolated.output
    assert isolated == plain


CLEANUPS: Final = """
    import pytest

    @pytest.fixture
    def cleaning(request, tmp_path):
        add = request.config.add_cleanup
        add(lambda: print((tmp_path / "order").read_text()))
        for word in ("last", "first"):
            add(lambda word=word: (tmp_path / "order").open("a").write(word))

    def test_cleans_up(cleaning, tmp_path): (tmp_path / "order").write_text("")
    def test_next(): pass
    def test_fails_to(request):
        def clean(): raise OSError("cannot clean up")
        request.config.add_cleanup(lambda: print("still called"))
        request.config.add_cleanup(clean)
"""


def test_cleanups_that_a_test_adds_are_called_at_its_end(suite: Suite) -> None:
    suite.write({
        "cleanups": CLEANUPS,
        "conftest.py": """
            def pytest_configure(config):
                config.add_cleanup(lambda: print("\\nthe session's"))
        """,
    })

    run = suite.run("--isolate", "-s")

    assert run.output.count("firstlast") == 1
    assert run.output.index("firstlast") < run.output.index("still called")
    assert run.output.count("the session's") == 1


def test_cleanup_that_fails_is_a_failed_teardown(suite: Suite) -> None:
    suite.write({"cleanups": CLEANUPS})

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


EXITS: Final = """
    import asyncio, atexit, multiprocessing, multiprocessing.util, os, pytest, sys, threading
    import time, weakref
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

    class Owner: pass
    KEPT = Owner()
    weakref.finalize(KEPT, print, "the parent's")

    def for_ever():
        while True: time.sleep(0.1)
    def busy():
        while True: pass

    def test_function_that_sleeps(): atexit.register(for_ever)
    def test_function_that_spins(): atexit.register(busy)
    def test_function_that_joins_a_thread():
        thread = threading.Thread(target=for_ever, daemon=True, name="looper")
        thread.start()
        atexit.register(thread.join)
    def test_thread(): threading.Thread(target=for_ever, name="looper").start()
    def test_executor():
        KEPT.pool = ThreadPoolExecutor(thread_name_prefix="looper")
        KEPT.pool.submit(for_ever)
    def test_asyncio():
        async def main(): asyncio.get_running_loop().run_in_executor(None, for_ever)
        KEPT.loop = asyncio.new_event_loop()
        KEPT.loop.run_until_complete(main())
    def test_process(): multiprocessing.Process(target=for_ever, name="looper").start()
    def test_processes():
        KEPT.pool = ProcessPoolExecutor(1)
        KEPT.pool.submit(for_ever)
    def test_queue():
        KEPT.queue = multiprocessing.Queue()
        KEPT.queue.put(b"x" * 1_000_000)
    def test_finalizer(): weakref.finalize(KEPT, for_ever)
    def test_function_that_raises(): atexit.register(int, "no number")
    def test_finalizer_that_raises(): weakref.finalize(KEPT, int, "no number")
    def test_thread_that_raises():
        def run():
            time.sleep(0.1)
            int("no number")
        threading.Thread(target=run).start()

    def test_idle_executor():
        KEPT.pool = ThreadPoolExecutor()
        KEPT.pool.submit(time.sleep, 0.1)
    def test_idle_pool(): KEPT.pool = multiprocessing.Pool(1)
    def test_daemons():
        threading.Thread(target=for_ever, daemon=True).start()
        multiprocessing.Process(target=for_ever, daemon=True).start()
    def test_function_that_exits(): atexit.register(sys.exit, 3)
    def test_function_that_leaves(): atexit.register(os._exit, 0)
    def test_after_all(): pass

    def test_function_that_leaves_with_a_status(): atexit.register(os._exit, 3)
    def test_function_that_crashes():
        def crash(): os.abort()
        atexit.register(crash)
    @pytest.mark.isolated(timeout=0.3)
    def test_limit_comes_first(): atexit.register(for_ever)
"""
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
    limit = "from pytest_isolate.child import ending\nending.LIMIT_SECONDS = 1.0\n"
    module_suite.write({"exits": EXITS, "conftest.py": limit})
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
