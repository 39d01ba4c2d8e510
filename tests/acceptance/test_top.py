"""`--isolate-top=N` shows at the end which tests took the most, as `--durations` does for time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

TESTS: Final = """
    import os, pytest
    def take(mib): assert bytearray(os.urandom(1024)) * 1024 * mib
    @pytest.mark.isolated
    def test_some(): take(20)
    @pytest.mark.isolated(memory="300M")
    def test_much(): take(80)
    @pytest.mark.isolated(memory="60M")
    def test_too_much(): take(100)
    @pytest.mark.isolated(memory="none")
    def test_little(): pass
    def test_not_isolated(): take(90)
"""
LINE: Final = re.compile(
    r"^ *([\d.]+ \w+|-) (?:of ([\d.]+ \w+)|no cap) +([\d.]+) s CPU +([\d.]+) s wall  (\S+)$",
    re.MULTILINE,
)


@pytest.mark.needs("memory")
def test_hungriest_are_listed_with_their_caps(suite: Suite) -> None:
    suite.write({"food": TESTS})

    run = suite.run("--isolate-top=3")

    assert "= hungriest 3 tests =" in run.output
    rows = LINE.findall(run.output)
    assert [row[4] for row in rows] == [
        "test_food.py::test_much",
        "test_food.py::test_too_much",
        "test_food.py::test_some",
    ]
    assert [row[1] for row in rows] == ["300.0 MiB", "60.0 MiB", "1.0 GiB"]
    assert rows[1][0] == "60.0 MiB"
    assert 80 <= float(rows[0][0].split()[0]) < 120


@pytest.mark.needs("memory")
def test_zero_is_all_and_the_ini_file_can_ask(suite: Suite) -> None:
    suite.write({"food": TESTS, "pytest.ini": "[pytest]\nisolate_top = 0\n"})

    run = suite.run()

    assert "= hungriest tests =" in run.output
    assert len(LINE.findall(run.output)) == 4
    assert "no cap" in run.output


def test_nothing_is_shown_where_nothing_is_isolated_or_asked_for(suite: Suite) -> None:
    suite.write({"plain": "def test_a(): pass\n"})

    assert "hungriest" not in suite.run("--isolate-top=3").output
    assert "hungriest" not in suite.run("--isolate").output
