"""Output is whole up to a bound that few reach, and beyond it head and tail: never the machine's.

See `output.kept`. With `-s` it is the terminal's.
"""

from __future__ import annotations

from contextlib import suppress
from glob import glob
import os
from pathlib import Path
import threading
import time
from typing import TYPE_CHECKING
from typing import Final

import pytest

from pytest_isolate.transfer.output import KEPT

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

MIB: Final = 1024 * 1024
CAPTURES: Final = ("fd", "sys", "tee-sys")
FLOOD: Final = """
    import os, pytest, sys

    LINE = "x" * 1023 + "\\n"
    def flood(mib, write=None):
        write = write or sys.stdout.write
        write("the head\\n")
        for _ in range(mib): write(LINE * 1024)
        write("the tail\\n")
"""


def section(sections: list[list[str]], name: str) -> str:
    return next(text for key, text in sections if key == name)


@pytest.mark.parametrize(
    ("end", "capture", "mib"),
    [
        ("assert 0", "fd", 1024),
        ("assert 0", "sys", 300),  # more than the memory cap, and quick on a slow kernel
        ("assert 0", "tee-sys", 30),
        ("os.abort()", "fd", 300),
        ("os.abort()", "sys", 1024),
        ("os.abort()", "tee-sys", 30),
    ],
)
def test_flood_keeps_its_head_and_its_tail(end: str, capture: str, mib: int, suite: Suite) -> None:
    suite.write({"flood": f"{FLOOD}\n    def test_a(): flood({mib}); {end}\n"})

    run = suite.run(
        "--isolate", f"--capture={capture}", "-p", "no:terminal", "--isolate-memory=256M"
    )

    report = run.reports("test_a")["call"]
    text = section(report["sections"], "Captured stdout call")
    assert text.startswith("the head\nxxx")
    assert text.endswith("xxx\nthe tail\n")
    cut = mib * MIB + 2 * len("the head\n") - KEPT
    assert text.count(f"\n[... {cut:,} bytes cut ...]\n") == 1
    assert len(text) < KEPT + 100
    assert (
        report["text"]
        .splitlines()[-1]
        .endswith("AssertionError" if end == "assert 0" else "Crashed: killed by SIGABRT")
    )


def test_flood_of_a_program_is_bounded_on_the_disk(suite: Suite) -> None:
    """It writes as fast as it can, past Python; the file must not grow with it."""
    suite.write({
        "flood": f"""{FLOOD}
    import subprocess
    def test_a():
        done = subprocess.run(["sh", "-c", "yes | head -c 2000000000"])
        assert done.returncode
"""
    })
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, _deleted_files(os.getpid()))
            time.sleep(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        run = suite.run("--isolate", "-p", "no:terminal")
    finally:
        done.set()
        watcher.join()

    text = section(run.reports("test_a")["call"]["sections"], "Captured stdout call")
    assert f"[... {2_000_000_000 - KEPT:,} bytes cut ...]" in text
    assert text.endswith("y\ny\n")
    assert 0 < most < 600 * MIB


def _deleted_files(ancestor: int) -> int:
    """Return how many bytes the largest file takes that a descendant has open without a name."""
    most = 0
    for process in _descendants(ancestor):
        try:
            for fd in os.listdir(f"/proc/{process}/fd"):
                path = f"/proc/{process}/fd/{fd}"
                if os.readlink(path).endswith(" (deleted)"):
                    most = max(most, os.stat(path).st_blocks * 512)
        except OSError:
            continue
    return most


def _descendants(pid: int) -> list[int]:
    found = []
    for path in glob(f"/proc/{pid}/task/*/children"):  # nothing, if it has ended
        with suppress(OSError):
            for child in Path(path).read_text(encoding="ascii").split():
                found += [int(child), *_descendants(int(child))]
    return found


@pytest.mark.parametrize("capture", CAPTURES)
def test_output_up_to_the_bound_is_pytests_own(capture: str, suite: Suite) -> None:
    suite.write({
        "much": f"""{FLOOD}
    import logging
    @pytest.fixture
    def talks():
        flood(2, sys.stderr.write); yield; flood(1)
    def test_a(talks):
        flood({KEPT // MIB - 1})
        logging.error("l" * {MIB}); logging.error("\\udc80 not UTF-8")
        assert 0
    def test_b(capsys, capfd_or_none):
        flood(20)
        assert len(capsys.readouterr().out) > 20 * {MIB}
    @pytest.fixture
    def capfd_or_none(): return None
    def test_c(): print("a new page"); assert 0
    def test_d():
        if os.fork() == 0: print("lost with the fork"); os._exit(0)
        os.wait(); print("mine"); assert 0
"""
    })

    plain, isolated = suite.twice(f"--capture={capture}", "-p", "no:terminal")

    for name in ("test_a", "test_b", "test_c", "test_d"):
        assert isolated.reports(name) == plain.reports(name)


def test_logs_are_bounded_and_survive_a_death(suite: Suite) -> None:
    suite.write({
        "logs": """
            import logging, os

            def test_many():
                for number in range(40): logging.warning("%02d%s", number, "x" * 1_000_000)
                assert 0
            def test_dies(caplog):
                logging.warning("first"); logging.error("last"); os.abort()
        """
    })

    run = suite.run("--isolate", "-p", "no:terminal")

    text = section(run.reports("test_many")["call"]["sections"], "Captured log call")
    assert len(text) < KEPT + 100
    assert "bytes cut ...]" in text
    assert ":5 00xxx" in text
    assert ":5 39xxx" in text
    lines = section(run.reports("test_dies")["call"]["sections"], "Captured log call").splitlines()
    assert [line.split()[-1] for line in lines] == ["first", "last"]


def test_without_capture_all_goes_to_the_terminal(suite: Suite) -> None:
    suite.write({"flood": f"{FLOOD}\n    def test_a(): flood(20)\n"})

    run = suite.run("--isolate", "-s")

    assert run.output.count("x" * 1023) == 20 * 1024
    assert "bytes cut" not in run.output


def test_what_a_test_prints_does_not_get_it_killed(suite: Suite) -> None:
    suite.write({
        "chatty": """
            import os, pytest
            @pytest.mark.isolated(memory="60M")
            def test_a():
                for _ in range(300): os.write(1, b"x" * 1_000_000)
        """
    })

    run = suite.run()

    assert run.status == pytest.ExitCode.OK
    text = section(run.reports("test_a")["call"]["sections"], "Captured stdout call")
    assert len(text) == pytest.approx(60 * MIB / 16, abs=100)
