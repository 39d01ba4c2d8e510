"""Ctrl-C and signals from outside while an isolated test runs."""

from __future__ import annotations

import os
import re
import signal
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite
    from tests.conftest import Footprint

FILES: Final = {
    "waits": """
        import pytest, time
        @pytest.fixture
        def tidy(): yield; print("test is down")
        def test_first(): pass
        def test_waits(tidy):
            print("in the test")
            for _ in range(1000):
                time.sleep(0.1)
        def test_never(): pass
    """,
}
ARGUMENTS: Final = ("-s", "-p", "no:cacheprovider")


def interrupted(suite: Suite, *arguments: str, keys: str, token: str = "") -> str:
    """Return what is shown when *keys* are typed at a test that runs."""
    with suite.at_terminal(*ARGUMENTS, *arguments, ISOLATE_TEST_TOKEN=token) as terminal:
        terminal.expect("in the test\n")
        if keys:
            terminal.type(keys)
        else:
            os.kill(terminal.pid, signal.SIGINT)
        terminal.end()
    shown = terminal.seen.partition("collected ")[2]
    shown = re.sub(r" in \d+\.\d\ds", " in 0.00s", re.sub(r"={2,}|!{2,}", "==", shown))
    shown = re.sub(r"(test_waits.py):\d+: ", r"\1:N: ", shown)  # on its way to sleep, or asleep
    return f"{shown}exit status {terminal.status}"


@pytest.mark.parametrize("keys", ["\x03", ""])
def test_first_ctrl_c_ends_the_test_as_without_isolation(
    keys: str, suite: Suite, footprint: Footprint
) -> None:
    suite.write(FILES)

    plain = interrupted(suite, keys=keys)
    isolated = interrupted(suite, "--isolate", keys=keys, token=footprint.token)

    assert "test is down" in plain
    assert "test_waits.py:N: KeyboardInterrupt" in plain
    assert isolated == plain
    assert plain.endswith(f"exit status {pytest.ExitCode.INTERRUPTED}")


def test_second_ctrl_c_kills_the_sandbox(suite: Suite, footprint: Footprint) -> None:
    suite.write({
        "deaf": """
            import time
            def test_deaf():
                print("in the test", flush=True)
                while True:
                    try: time.sleep(100)
                    except KeyboardInterrupt: print("heard", flush=True)
        """
    })

    arguments = (*ARGUMENTS, "--isolate")
    with suite.at_terminal(*arguments, ISOLATE_TEST_TOKEN=footprint.token) as terminal:
        terminal.expect("in the test")
        terminal.type("\x03")
        terminal.expect("heard")
        terminal.type("\x03")
        assert "KeyboardInterrupt" in terminal.end()
    assert terminal.status == pytest.ExitCode.INTERRUPTED


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_signal_that_ends_pytest_leaves_nothing(
    number: signal.Signals, suite: Suite, footprint: Footprint
) -> None:
    suite.write({
        "one": """
            import subprocess, time
            def test_one():
                subprocess.Popen(["sleep", "500"])
                print("in the test", flush=True)
                time.sleep(500)
        """
    })

    arguments = (*ARGUMENTS, "--isolate")
    with suite.at_terminal(*arguments, ISOLATE_TEST_TOKEN=footprint.token) as terminal:
        terminal.expect("in the test")
        os.kill(terminal.pid, number)
        terminal.end()
    assert terminal.status == -number
