"""`--isolate-shell`: a shell at the user's terminal, in the sandbox of a test that has failed."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Suite
    from tests.conftest import Footprint

SHELL: Final = ("--isolate", "--isolate-shell", "-p", "no:cacheprovider")
LEAVE: Final = "leave with `exit` or Ctrl-D"


@pytest.mark.needs("sandbox")
def test_failed_test_is_looked_into_while_it_lives(suite: Suite, footprint: Footprint) -> None:
    suite.write({
        "one": """
            import os, socket, subprocess
            def test_passes(): pass
            def test_fails(tmp_path, monkeypatch):
                monkeypatch.chdir(tmp_path)
                with open("made", "w") as file: file.write("by the test\\n")
                with open("/tmp/left behind", "w") as file: file.write("by the test\\n")
                subprocess.Popen(["sleep", "987"])
                server = socket.create_server(("127.0.0.1", 4321))
                print("printed")
                assert 1 == 2
            def test_goes_on(): pass
        """
    })

    with suite.at_terminal(*SHELL, ISOLATE_TEST_TOKEN=footprint.token) as terminal:
        assert "shell in the sandbox of test_one.py::test_fails" in terminal.expect("call: assert")
        assert "root file system host, directory /" in terminal.expect(LEAVE)
        terminal.expect("$ ")
        # Where an ordinary user's test is now cannot be read from outside.
        made = "made" if os.geteuid() == 0 else "'/tmp/left behind'"
        terminal.type(
            f"cat {made}; ls /tmp; hostname; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; :\n"
        )
        said = terminal.expect("$ ")
        assert "by the test\n" in said
        assert "left behind" in said
        assert "isolated\n" in said
        assert "sleep 987" in said
        terminal.type("cat /proc/net/tcp; exit\n")
        assert "0100007F:10E1" in terminal.expect("the run goes on")
        said = terminal.end()

        assert terminal.status == pytest.ExitCode.TESTS_FAILED
        assert terminal.has_its_modes()
    assert "1 failed, 2 passed" in said
    assert "Captured stdout call" in said


@pytest.mark.needs("sandbox")
@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("setup", "setup: ValueError: in setup"),
        ("teardown", "teardown: ValueError: in teardown"),
        ("crash", "call: Crashed: killed by SIGABRT"),
        ("exit", "call: Exited: left with status 7 before its report"),
        pytest.param(
            *("oom", "call: OOM killed: exceeded its memory cap of 60.0 MiB"),
            marks=pytest.mark.needs("memory"),
        ),
        ("slow", "Timed out: exceeded its limit of 2 s"),
        ("case", "call: AssertionError: in a method"),
    ],
)
def test_every_failure_is_looked_into_with_its_files(
    name: str, what: str, suite: Suite, footprint: Footprint
) -> None:
    suite.write({
        "ends": """
            import os, pytest, time, unittest
            @pytest.fixture(autouse=True)
            def clue(): open("/tmp/clue", "w").close()
            @pytest.fixture
            def broken(): raise ValueError("in setup")
            def test_setup(broken): pass
            @pytest.fixture
            def broken_later(): yield; raise ValueError("in teardown")
            def test_teardown(broken_later): pass
            def test_crash(): os.abort()
            def test_exit(): os._exit(7)
            @pytest.mark.isolated(memory="60M")
            def test_oom():
                hoard = []
                while True: hoard.append(bytearray(1_000_000))
            @pytest.mark.isolated(timeout=2)
            def test_slow(): time.sleep(100)
            class Case(unittest.TestCase):
                def test_case(self): self.fail("in a method")
        """
    })

    with suite.at_terminal(
        *SHELL, "-k", f"test_{name}", ISOLATE_TEST_TOKEN=footprint.token
    ) as terminal:
        terminal.expect(what)
        terminal.expect("$ ")
        # More than the cap that has just killed the test.
        terminal.type(
            "ls /tmp/clue && dd if=/dev/zero of=/dev/null bs=70M count=1 && echo $((70 * 6))\n"
        )
        assert "/tmp/clue\n" in terminal.expect("420\n")
        terminal.expect("$ ")
        terminal.type("\x04")
        said = terminal.end()

        assert terminal.status == pytest.ExitCode.TESTS_FAILED
    assert "shell in the sandbox" not in said  # once is enough


def test_ctrl_c_is_the_shells(suite: Suite, footprint: Footprint) -> None:
    suite.write({"one": "def test_fails(): assert 0\ndef test_passes(): pass\n"})

    with suite.at_terminal(
        *SHELL, SHELL="/bin/bash", ISOLATE_TEST_TOKEN=footprint.token
    ) as terminal:
        prompt = "# " if os.geteuid() == 0 else "$ "
        terminal.expect(LEAVE)
        assert "job control" not in terminal.expect(prompt)
        terminal.type("sh -c 'echo begins; exec sleep 500'\n")
        terminal.expect("\nbegins\n")
        terminal.type("\x03")
        terminal.expect(prompt)
        terminal.type("sleep 400 & jobs; exit\n")
        terminal.expect("Running")
        assert "1 failed, 1 passed" in terminal.end()


def test_time_in_the_shell_does_not_count(suite: Suite, footprint: Footprint) -> None:
    suite.write({
        "one": """
            import pytest
            @pytest.fixture
            def finished(): yield; print("finished well")
            @pytest.mark.isolated(timeout=3)  # a slow kernel takes a second to fail
            def test_fails(finished): assert 0
        """
    })

    with suite.at_terminal(*SHELL, "-s", ISOLATE_TEST_TOKEN=footprint.token) as terminal:
        terminal.expect("$ ")
        terminal.type("sleep 3.5; exit\n")
        terminal.expect("finished well")
        assert "Timed out" not in terminal.end()


def test_expected_failure_opens_no_shell(suite: Suite) -> None:
    suite.write({
        "one": """
            import os, pytest
            @pytest.mark.xfail
            def test_fails(): assert 0
            @pytest.mark.xfail
            def test_dies(): os.abort()
            def test_skipped(): pytest.skip()
        """
    })

    with suite.at_terminal(*SHELL) as terminal:
        assert "1 skipped, 2 xfailed" in terminal.end()
        assert terminal.status == pytest.ExitCode.OK


@pytest.mark.needs("sandbox")
def test_root_without_a_shell_is_told_in_one_line(suite: Suite) -> None:
    suite.write({"one": "def test_fails(): assert 0\n"})

    with suite.at_terminal(*SHELL, "--isolate-rootfs=minimal", SHELL="/bin/fish") as terminal:
        terminal.expect("root file system minimal")
        terminal.expect(
            "No shell: the sandbox's root has neither /bin/fish nor /bin/sh: "
            "No such file or directory\n"
        )
        assert "1 failed" in terminal.end()


@pytest.mark.needs("sandbox")
def test_shell_of_a_foreign_root_is_its_own(suite: Suite, tmp_path: Path) -> None:
    root = tmp_path / "root"
    listed = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=False)
    for path in ("/bin/sh", *(word for word in listed.stdout.split() if word.startswith("/"))):
        target = root / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (root / "marker").write_text("the root's own\n", "utf-8")
    suite.write({"one": "def test_fails(): assert 0\n"})

    with suite.at_terminal(*SHELL, f"--isolate-rootfs={root}") as terminal:
        terminal.expect(f"root file system {root}")
        terminal.expect("$ ")
        terminal.type("read words < /marker; echo is $words; exit\n")
        terminal.expect("is the root's own\n")
        assert "1 failed" in terminal.end()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "standard input is not a terminal, and a shell needs one"),
        (["--no-isolate"], "there is no sandbox to open a shell in with --no-isolate"),
        (["--pdb"], "--pdb and --trace want the terminal as well; choose one of them"),
    ],
)
def test_run_without_a_terminal_for_it_is_refused(
    arguments: list[str], line: str, suite: Suite
) -> None:
    suite.write({"one": "def test_passes(): pass\n"})

    run = suite.run(*SHELL, *arguments)

    assert run.status == pytest.ExitCode.USAGE_ERROR
    assert line in run.stderr
    assert run.events == []
