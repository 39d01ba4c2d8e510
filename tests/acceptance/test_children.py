"""What is made of SIGCHLD is the tests' own business: how theirs end is told all the same."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

pytestmark = pytest.mark.needs("sandbox")

ENDS: Final = """
    import os, signal, subprocess
    def test_passes(): assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
    def test_fails(): assert 1 == 2
    def test_crashes(): os.abort()
    def test_leaves(): os._exit(7)
    def test_has_children(): assert subprocess.run(["sh", "-c", "exit 3"]).returncode == 0
"""
SAID: Final = (
    "assert 1 == 2",
    "Crashed: killed by SIGABRT",
    "Exited: left with status 7 before its report",
    "3 failed, 2 passed",
)


def assert_one_crashes(suite: Suite) -> None:
    output = suite.run("--isolate").output
    assert "Crashed: killed by SIGABRT" in output
    assert "1 failed, 1 passed" in output


def test_a_module_may_ignore_it_at_import(suite: Suite) -> None:
    ignoring = "    import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
    suite.write({"ends": ignoring + ENDS})

    output = suite.run("--isolate").output
    assert [line for line in SAID if line not in output] == []


def test_pytest_may_be_started_with_it_ignored(suite: Suite) -> None:
    suite.write({"ends": ENDS})
    starting = (
        "import signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); "
        "import os; os.execv(sys.executable, [sys.executable, '-m', 'pytest', *sys.argv[1:]])"
    )
    command = [sys.executable, "-c", starting, "--isolate", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=suite.directory, capture_output=True, text=True, check=False, timeout=120
    )

    assert [line for line in SAID if line not in done.stdout] == []


def test_a_test_may_ignore_it_and_crash(suite: Suite) -> None:
    suite.write({
        "ends": """
            import os, signal
            def test_ignores():
                signal.signal(signal.SIGCHLD, signal.SIG_IGN)
                os.abort()
            def test_next(): assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
        """
    })

    assert_one_crashes(suite)


def test_a_handler_may_wait_for_any_child(suite: Suite) -> None:
    suite.write({
        "ends": """
            import os, signal
            def reap(*_):
                try:
                    while os.waitpid(-1, os.WNOHANG)[0]: pass
                except ChildProcessError: pass
            signal.signal(signal.SIGCHLD, reap)
            def test_crashes(): os.abort()
            def test_passes(): assert signal.getsignal(signal.SIGCHLD) is reap
        """
    })

    assert_one_crashes(suite)


def test_outside_it_is_what_it_was_after_each_test(suite: Suite) -> None:
    suite.write({
        "ends": """
            import pytest, signal
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            def test_inside(): pass
            @pytest.mark.isolated(enabled=False)
            def test_outside(): assert signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN
            @pytest.mark.isolated(enabled=False)
            def test_outside_for_the_kernel():
                with open("/proc/self/status") as file:
                    ignored = next(line for line in file if line.startswith("SigIgn"))
                assert int(ignored.split()[1], 16) >> (signal.SIGCHLD - 1) & 1
        """
    })

    assert "3 passed" in suite.run("--isolate").output


@pytest.mark.parametrize(
    ("script", "status"), [("exit 5", 5), ("kill -KILL $$", 137), ("sleep 0.1; exit 5", 5)]
)
def test_run_may_be_started_with_it_ignored(script: str, status: int) -> None:
    run = f'"{sys.executable}" -m pytest_isolate run'
    command = f"trap '' CHLD; {run} -- sh -c '{script}'"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (status, "")
