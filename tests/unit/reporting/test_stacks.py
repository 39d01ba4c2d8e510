"""Stacks are of the suite's own code, and have it under each frame."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from typing import Final

import pytest

from pytest_isolate.reporting import stacks
from pytest_isolate.reporting.stacks import Sources

if TYPE_CHECKING:
    from pathlib import Path


def test_stacks_end_where_the_tests_own_frames_do() -> None:
    written = """\
Current thread 0x1 (most recent call first):
  File "/test.py", line 1 in test
  File "/ours.py", line 2 in run
  File "/pytest.py", line 3 in main

Thread 0x2 (most recent call first):
  File "/thread.py", line 4 in run"""

    assert stacks.of_the_suite(written, "/ours.py").splitlines() == [
        "Current thread 0x1 (most recent call first):",
        '  File "/test.py", line 1 in test',
        "",
        "Thread 0x2 (most recent call first):",
        '  File "/thread.py", line 4 in run',
    ]


def test_stacks_end_where_pytest_calls_the_suite() -> None:
    written = """\
Current thread 0x1 (most recent call first):
  File "/test.py", line 1 in fixture
  File "/site-packages/_pytest/fixtures.py", line 2 in call_fixture_func
  File "/site-packages/pluggy/_callers.py", line 3 in _multicall"""
    within_pytest = """\
Current thread 0x1 (most recent call first):
  File "/site-packages/_pytest/fixtures.py", line 2 in getfixturevalue"""

    assert stacks.of_the_suite(written, "/ours.py").splitlines()[1:] == [
        '  File "/test.py", line 1 in fixture',
    ]
    assert stacks.of_the_suite(within_pytest, "/ours.py") == within_pytest


def test_thread_of_ours_is_left_out() -> None:
    written = """\
Thread 0x2 (most recent call first):
  File "/ours.py", line 4 in watch

Current thread 0x1 (most recent call first):
  File "/test.py", line 1 in test

Thread 0x3 (most recent call first):
  <no Python frame>"""

    assert stacks.of_the_suite(written, "/other.py", "/ours.py").splitlines() == [
        "Current thread 0x1 (most recent call first):",
        '  File "/test.py", line 1 in test',
        "",
        "Thread 0x3 (most recent call first):",
        "  <no Python frame>",
    ]


PYTHON: Final = '  Binary file "/bin/python3"'
LIBC: Final = '  Binary file "/lib/libc.so.6"'
DUMP: Final = [
    f"{PYTHON}, at _Py_DumpStack+0x4a [0x1]",
    f"{PYTHON} [0x2]",
    f"{LIBC}, at +0x3 [0x3]",
]
EVALUATION: Final = [f"{PYTHON} [0x7]", f"{PYTHON}, at Py_BytesMain+0x2b [0x8]", f"{LIBC} [0x9]"]
ABORT: Final = [f"{LIBC}, at gsignal+0x12 [0x4]", f"{LIBC}, at abort+0x24 [0x5]"]


@pytest.mark.parametrize(
    ("crash", "shown"),
    [
        (ABORT, [*ABORT, "  ..."]),
        ([], EVALUATION),
        ([f"{LIBC} [0x{n}]" for n in range(30)], [*[f"{LIBC} [0x{n}]" for n in range(8)], "  ..."]),
    ],
    ids=["in a library", "in the interpreter", "recursion"],
)
def test_c_stack_is_what_the_interpreter_had_called(crash: list[str], shown: list[str]) -> None:
    title = "Current thread's C stack trace (most recent call first):"
    python = ["Current thread 0x1 (most recent call first):", '  File "/t.py", line 1 in test']
    written = "\n".join([*python, "", title, *DUMP, *crash, *EVALUATION, "", *python])

    assert stacks.of_the_suite(written, "/ours.py").splitlines() == [
        *python,
        "",
        title,
        *shown,
        "",
        *python,
    ]


def test_code_is_under_each_frame_that_has_some() -> None:
    code = {("/a.py", 3): "    return compute(x)\n", ("/b ä.py", 1): "main()"}
    written = """\
Current thread 0x1 (most recent call first):
  File "/a.py", line 3 in inner
  File "<string>", line 1 in <module>
  File "/b \\xe4.py", line 1 in <module>"""

    assert stacks.with_code(written, lambda *place: code.get(place, "")).splitlines() == [
        "Current thread 0x1 (most recent call first):",
        '  File "/a.py", line 3 in inner',
        "    return compute(x)",
        '  File "<string>", line 1 in <module>',
        '  File "/b \\xe4.py", line 1 in <module>',
        "    main()",
    ]


def test_code_is_bounded() -> None:
    written = '  File "/a.py", line 1 in inner\n' * 10_000

    lines = stacks.with_code(written, lambda *_: "x" * 10_000).splitlines()

    assert len(lines) == 10_400
    assert max(map(len, lines)) == 204


def test_line_is_read_in_the_encoding_that_its_file_declares(tmp_path: Path) -> None:
    file = tmp_path / "latin.py"
    file.write_bytes("# coding: latin-1\nfirst\x0c = 'ä'\nsecond = 2\n".encode("latin-1"))
    sources = Sources()

    assert sources.line(str(file), 2).strip() == "first\x0c = 'ä'"
    assert sources.line(str(file), 3).strip() == "second = 2"
    assert sources.line(str(file), 4) == sources.line(str(file), 0) == ""


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\n")
    names = ["<string>", "relative.py", str(tmp_path), str(pipe), str(tmp_path / "binary"), "/\0"]

    assert [Sources().line(name, 1) for name in [*names, f"{tmp_path}/none"]] == [""] * 7
