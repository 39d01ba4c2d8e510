"""The debugger in an isolated test: at the user's terminal, as without isolation.

Both runs are typed the same at; what their terminals show is the same.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite
    from tests.conftest import Footprint

PROMPT: Final = "(Pdb) "
FILES: Final = {
    "failures": """
        import pytest, unittest
        @pytest.fixture
        def broken():
            print("in the fixture")
            raise ValueError("in setup")
        def test_setup(broken): pass
        def test_call():
            here = 41
            print("in the test")
            assert here == 42
        @pytest.fixture
        def broken_later():
            yield
            raise KeyError("in teardown")
        def test_teardown(broken_later): pass
        class Case(unittest.TestCase):
            def tearDown(self): print("down")
            def test_case(self): self.assertEqual(1, 2)
        @pytest.mark.xfail
        def test_expected(): assert 0
        def test_passes(): pass
    """,
    "breakpoints": """
        import pytest
        def helper(number):
            result = number + 1
            breakpoint()
            return result
        def test_breakpoint():
            print("before")
            assert helper(1) == 2
            print("after")
        @pytest.fixture
        def stops(): pytest.set_trace(header="in a fixture"); yield
        def test_fixture(stops): assert input is None
        def test_passes(): pass
    """,
    "traced": """
        def test_first(tmp_path):
            number = 1
            assert number
        def test_second(): pass
    """,
    "own.py": """
        import pdb
        class Own(pdb.Pdb):
            def do_greet(self, argument): print("hello from a class of its own", file=self.stdout)
    """,
}
SESSIONS: Final = {
    "post-mortem": (
        ["--pdb", "-k", "failures"],
        ["p 1\n", "c\n", "p here\n", "c\n", "where\n", "c\n", "continue\n"],
    ),
    "quit": (["--pdb", "-k", "failures"], ["c\n", "q\n"]),
    "end of file": (["--pdb", "-k", "failures"], ["\x04"]),
    "without capture": (["--pdb", "-s", "-v", "-k", "failures"], ["c\n"] * 4),
    "breakpoint": (["-k", "breakpoints"], ["p result\n", "up\n", "c\n", "p 7 * 6\n", "c\n"]),
    "quit breakpoint": (["-k", "breakpoints"], ["q\n"]),
    # Since 3.14 that quits as `q` does; before, the test alone is over.
    "end of file at breakpoint": (
        ["-k", "breakpoints"],
        ["\x04"] if sys.version_info >= (3, 14) else ["\x04", "c\n"],
    ),
    "breakpoint without capture": (["-s", "-k", "breakpoints"], ["c\n", "c\n"]),
    "captured in memory": (["--capture=sys", "-k", "breakpoints"], ["c\n", "c\n"]),
    "Ctrl-C at the prompt": (["-k", "breakpoints"], ["\x03", "\x03", "p result\n", "c\n", "c\n"]),
    "Ctrl-C post mortem": (["--pdb", "-k", "failures"], ["\x03", "c\n", "c\n", "c\n", "c\n"]),
    "trace": (["--trace", "-k", "traced"], ["n\n", "p number\n", "c\n", "c\n"]),
    "stepping over the end": (["--trace", "-k", "traced"], ["n\n"] * 4 + ["q\n"]),
    "class": (["--pdbcls=own:Own", "--pdb", "-k", "test_call"], ["greet\n", "c\n"]),
    "line editing": (["-k", "breakpoints"], ["p 100 + 20\x1b[D\x1b[D\x1b[D\x1b[D\x08-\n", "q\n"]),
}


def transcript(suite: Suite, keys: list[str], *arguments: str, token: str = "") -> str:
    """Return what a terminal shows of a run at which *keys* are typed, one entry a prompt."""
    with suite.at_terminal(*arguments, ISOLATE_TEST_TOKEN=token, PYTHONPATH=".") as terminal:
        for entry in keys:
            terminal.expect(PROMPT)
            terminal.type(entry)
        terminal.end()

        assert terminal.has_its_modes()
    # Until there "collecting" is shown as often as there is time for.
    shown = terminal.seen.partition("collected ")[2]
    for pattern, replacement in (
        (r" in \d+\.\d\ds", " in 0.00s"),
        (r"0x[0-9a-f]{6,}", "0x0"),
        (r"={2,}", "=="),
        (r"/base-(plain|isolated)", "/base"),
    ):
        shown = re.sub(pattern, replacement, shown)
    return f"{shown}exit status {terminal.status}"


@pytest.mark.parametrize("name", SESSIONS)
def test_terminal_shows_the_same_as_without_isolation(
    name: str, suite: Suite, footprint: Footprint
) -> None:
    arguments, keys = SESSIONS[name]
    suite.write(FILES)
    arguments = [*arguments, "-p", "no:cacheprovider"]

    plain = transcript(suite, keys, *arguments)
    isolated = transcript(suite, keys, "--isolate", *arguments, token=footprint.token)

    assert plain.count(PROMPT) >= len(keys)
    assert isolated == plain


@pytest.mark.needs("sandbox")
def test_debugger_is_in_the_sandbox(suite: Suite) -> None:
    suite.write({"one": "import socket\ndef test_one(): breakpoint()\n"})

    shown = transcript(suite, ["p socket.gethostname()\n", "c\n"], "--isolate")

    assert "'isolated'" in shown


@pytest.mark.parametrize("arguments", [[], ["--trace"]])
def test_time_in_the_debugger_does_not_count(arguments: list[str], suite: Suite) -> None:
    suite.write({
        "one": """
            import pytest, time
            @pytest.mark.isolated(timeout=1.5)
            def test_one():
                breakpoint()
                time.sleep(0.1)
        """
    })

    keys = ["import time; time.sleep(2)\n", "c\n"]
    shown = transcript(suite, [*keys, *(["c\n"] if arguments else [])], *arguments)

    assert "1 passed" in shown


def test_test_that_hangs_after_the_debugger_is_timed_out(suite: Suite) -> None:
    suite.write({
        "one": """
            import pytest, time
            @pytest.mark.isolated(timeout=1.5)
            def test_one():
                breakpoint()
                time.sleep(100)
        """
    })

    shown = transcript(suite, ["c\n"])

    assert "Timed out: exceeded its limit of 1.5 s" in shown


def test_breakpoint_without_a_terminal_ends_as_without_isolation(suite: Suite) -> None:
    suite.write({"one": "def test_one(): breakpoint()\ndef test_two(): pass\n"})

    plain, isolated = suite.twice()

    assert "Quit" in plain.output
    assert isolated.output == plain.output
    assert isolated.status == plain.status
