"""faulthandler's watchdog, armed by pytest or a suite, over the fork of isolated tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

pytestmark = pytest.mark.needs("sandbox")

DEADLOCK = """
    import time
    def test_before(): pass
    def test_deadlock(): time.sleep(4)
    def test_after(): pass
"""


def write_ini(suite: Suite, *lines: str) -> None:
    with (suite.directory / "pytest.ini").open("a", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def test_a_failure_is_told_at_once_and_as_without_isolation(suite: Suite) -> None:
    write_ini(suite, "faulthandler_timeout = 200")
    suite.write({"fails": "def test_fails(): assert 0"})
    start = time.monotonic()
    plain, isolated = suite.twice()
    assert isolated == plain
    assert time.monotonic() - start < 100


def test_a_dump_goes_to_standard_error_and_shows_the_test(suite: Suite) -> None:
    write_ini(suite, "faulthandler_timeout = 0.5")
    suite.write({"slow": "import time\ndef test_slow(): time.sleep(1.5)\ndef test_after(): pass"})
    run = suite.run("--isolate")
    assert run.status == 0
    assert run.stderr.count("Timeout (0:00:00.500000)!\n") == 1
    assert "in test_slow\n" in run.stderr
    assert "in _follow" not in run.stderr


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="pytest has that option from 9 on")
def test_the_exit_of_a_watchdog_is_the_tests_and_its_stack_is_in_the_report(suite: Suite) -> None:
    write_ini(suite, "faulthandler_timeout = 1", "faulthandler_exit_on_timeout = true")
    suite.write({"deadlock": DEADLOCK})
    run = suite.run("--isolate")
    assert run.status == 1
    assert "1 failed, 2 passed" in run.output
    (report,) = (one for one in run.reports("test_deadlock").values() if one["outcome"] == "failed")
    assert report["text"].startswith("Exited: left with status 1 before its report")
    stacks = dict(report["sections"])["Stacks of all threads"]
    assert stacks.startswith("Timeout (0:00:01)!\n")
    assert "in test_deadlock" in stacks
    assert "in test_deadlock" in run.stderr


@pytest.mark.parametrize(
    "arm",
    [
        "import faulthandler; faulthandler.dump_traceback_later(2.5, False, FILE)",
        "from faulthandler import dump_traceback_later as arm; arm(2.5, file=FILE.fileno())",
        "import faulthandler; faulthandler.dump_traceback_later(2.5, repeat=True, file=FILE)",
    ],
)
def test_a_watchdog_of_a_conftest_writes_the_tests_stack_to_its_own_file(
    suite: Suite, arm: str
) -> None:
    suite.write({
        # Not at import: a busy machine may take longer than that to get to the test.
        "conftest.py": f"""
            FILE = open("stacks.txt", "w")
            def pytest_runtestloop(): {arm}
        """,
        "slow": """
            import time
            def test_slow(): time.sleep(6)
            def test_fails(): assert 0
        """,
    })
    run = suite.run("--isolate")
    assert "1 failed, 1 passed" in run.output
    said = (suite.directory / "stacks.txt").read_text(encoding="utf-8")
    assert said.count("Timeout (0:00:02.500000)!\n") == (2 if "repeat" in arm else 1)
    assert said.count("in test_slow\n") == said.count("Timeout")


def test_what_a_watchdog_says_to_captured_output_is_with_the_tests(suite: Suite) -> None:
    suite.write({
        "conftest.py": """
            import faulthandler
            def pytest_runtestloop(): faulthandler.dump_traceback_later(3, exit=True)
        """,
        "deadlock": DEADLOCK.replace("4", "9"),
    })
    run = suite.run("--isolate")
    assert "1 failed, 2 passed" in run.output
    (report,) = (one for one in run.reports("test_deadlock").values() if one["outcome"] == "failed")
    assert "in test_deadlock" in "".join(text for _, text in report["sections"])


def test_a_test_may_arm_and_cancel_one_of_its_own(suite: Suite) -> None:
    write_ini(suite, "faulthandler_timeout = 100")
    suite.write({
        "own": """
            import faulthandler, time
            def test_own(tmp_path):
                with open(tmp_path / "file", "w+") as file:
                    faulthandler.dump_traceback_later(0.1, file=file)
                    time.sleep(0.5)
                    faulthandler.cancel_dump_traceback_later()
                    file.seek(0)
                    assert "in test_own" in file.read()
                assert faulthandler.dump_traceback_later.__name__ == "dump_traceback_later"
        """
    })
    plain, isolated = suite.twice()
    assert isolated == plain
    assert isolated.status == 0


def test_a_watchdog_of_the_session_goes_on_between_isolated_tests(suite: Suite) -> None:
    suite.write({
        "mixed": """
            import faulthandler, pytest, time
            FILE = open("stacks.txt", "w")
            faulthandler.dump_traceback_later(4, file=FILE)
            @pytest.mark.isolated
            def test_isolated(): pass
            def test_plain(): time.sleep(5)
        """
    })
    assert suite.run().status == 0
    said = (suite.directory / "stacks.txt").read_text(encoding="utf-8")
    assert said.count("Timeout (") == said.count("in test_plain\n") == 1


def test_a_cancelled_watchdog_stays_so(suite: Suite) -> None:
    suite.write({
        "conftest.py": """
            import faulthandler
            faulthandler.dump_traceback_later(6, exit=True)
            def pytest_collection_finish(): faulthandler.cancel_dump_traceback_later()
        """,
        "deadlock": DEADLOCK.replace("4", "7"),
    })
    run = suite.run("--isolate")
    assert run.status == 0
    assert not run.stderr


def test_a_watchdog_armed_before_pytest_hangs_no_test_and_is_told(suite: Suite) -> None:
    suite.write({
        "fails": "def test_passes(): pass\ndef test_fails(): assert 0",
        "start.py": """
            import faulthandler, sys
            faulthandler.dump_traceback_later(100, exit=True)
            import pytest
            sys.exit(pytest.main(["--isolate", *sys.argv[1:]]))
        """,
    })
    done = subprocess.run(
        [sys.executable, "start.py"],
        cwd=suite.directory,
        env={name: value for name, value in os.environ.items() if name != "PYTEST_VERSION"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "1 failed, 1 passed, 1 warning" in done.stdout
    assert "call faulthandler.dump_traceback_later in a conftest.py" in done.stdout
