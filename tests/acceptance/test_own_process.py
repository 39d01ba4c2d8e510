"""What a test may do to its own process: isolated, it ends as it does without."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

#: What would be felt by later tests of a plain run.
HARMFUL: Final = {
    "mask": "os.umask(0o077); assert 0",
    "environment": "os.environ.clear()",
    "memory limit": "resource.setrlimit(resource.RLIMIT_AS, (2**29,) * 2); bytearray(2**30)",
    "no stdout": "sys.stdout = None; assert 0",
    "trace": "sys.settrace(lambda *_: None); sys.setprofile(lambda *_: None); assert 0",
    "no more logs": "logging.shutdown(); logging.warning('after'); assert 0",
    "locale": "locale.setlocale(locale.LC_ALL, 'C'); assert 0",
    "directory": "os.chdir('/'); assert 0",
}


def test_reports_are_the_same(suite: Suite) -> None:
    suite.copy("own_process")

    plain, isolated = suite.twice()

    assert isolated == plain


@pytest.mark.parametrize("name", HARMFUL)
def test_last_report_is_the_same(name: str, suite: Suite) -> None:
    suite.write({
        "own": f"""
            import locale, logging, os, resource, sys
            def test_own(): print("said"); {HARMFUL[name]}
        """
    })

    plain, isolated = suite.twice("-p", "no:cacheprovider")

    assert isolated.events == plain.events


def test_functions_for_the_end_are_called_at_the_end_of_the_test(suite: Suite) -> None:
    suite.write({
        "ends": """
            import atexit, pathlib, pytest
            def test_one(): atexit.register(pathlib.Path("one").absolute().write_text, "one")
            def test_two(): print(pathlib.Path("one").read_text()); assert 0
        """,
        "conftest.py": """
            import atexit, os, pathlib
            atexit.register(lambda: print("of pytest's process", file=open("told", "a")))
        """,
    })

    run = suite.run("--isolate", "--isolate-writable=.")

    assert dict(run.reports("test_two")["call"]["sections"])["Captured stdout call"] == "one\n"
    assert (suite.directory / "told").read_text("utf-8") == "of pytest's process\n"


def test_threads_that_never_end_do_not_hold_the_run_up(suite: Suite) -> None:
    suite.write({
        "threads": """
            import threading, time
            def test_one(): threading.Thread(target=time.sleep, args=(500,)).start()
        """
    })

    run = suite.run("--isolate")

    assert run.outcomes("test_one") == {"setup": "passed", "call": "passed", "teardown": "passed"}
