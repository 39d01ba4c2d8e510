"""What a process has said before it died, and of what moment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox.supervise.last_words import LastWords
from pytest_isolate.sandbox.supervise.last_words import understood

if TYPE_CHECKING:
    from collections.abc import Iterator

STACK = b"Current thread 0x1 (most recent call first):\n"


@pytest.fixture
def words() -> Iterator[LastWords]:
    file = os.memfd_create("words")
    yield LastWords(number=64, file=file)
    os.close(file)


def test_words_of_an_earlier_alarm_say_so_once(words: LastWords) -> None:
    text = STACK
    for _ in range(2):  # rung twice without an answer
        words.make_room()
        words.restore(text)
        text = words.text()

    first, *rest = text.splitlines(keepends=True)
    assert b"earlier" in first
    assert rest == [STACK]


def test_words_of_now_replace_the_earlier_ones(words: LastWords) -> None:
    words.make_room()
    os.write(words.file, b"now\n")
    words.restore(STACK)

    assert words.text() == b"now\n"


def test_silence_from_the_first_alarm_on_stays_silence(words: LastWords) -> None:
    words.make_room()
    words.restore(b"")

    assert words.text() == b""


ENDS = (b" in <module>\n", b"\n  ...\n")
ALONE = b"""\
Stack (most recent call first):
  File "a.py", line 1 in first
  File "a.py", line 9 in <module>
"""
OTHER = b"""\
Thread 0x2 (most recent call first):
  File "a.py", line 5 in loop

"""
CURRENT = b"""\
Current thread 0x1 [main] (most recent call first):
  File "a.py", line 2 in later
  File "a.py", line 9 in <module>
"""
FATAL = b"Fatal Python error: Segmentation fault\n\nExtension modules: x (total: 1)\n"


def test_no_stack_is_shown_twice() -> None:
    assert understood(ALONE + OTHER + CURRENT, ENDS) == OTHER + CURRENT
    assert understood(ALONE + CURRENT, ENDS) == CURRENT


@pytest.mark.parametrize("cut", [0, 37, len(OTHER), len(OTHER) + 60])
@pytest.mark.parametrize("fatal", [b"", FATAL])
def test_one_threads_stack_is_kept_where_those_of_all_break_off(cut: int, fatal: bytes) -> None:
    shown = understood(ALONE + (OTHER + CURRENT)[:cut] + fatal, ENDS)

    assert shown.startswith(ALONE)
    assert b"Fatal" not in shown
    assert (b"in loop" in shown) == (cut > 37)


def test_a_crash_after_all_was_said_is_the_tests_own() -> None:
    shown = understood(ALONE + OTHER + CURRENT + FATAL, ENDS)

    assert shown.endswith(FATAL)
    assert shown.count(b"(most recent call first)") == 2


def test_a_crash_that_nobody_has_asked_for_is_shown_as_it_is() -> None:
    assert understood(FATAL + OTHER + CURRENT, ENDS) == FATAL + OTHER + CURRENT


def test_without_a_thread_that_answers_alone_all_are_shown() -> None:
    assert understood(OTHER + CURRENT, ENDS) == OTHER + CURRENT


@pytest.mark.parametrize(
    ("said", "complete"),
    [
        (b"", False),
        (ALONE, False),
        (ALONE + OTHER, False),
        (ALONE + OTHER + CURRENT, True),
        (OTHER, False),
        (CURRENT, True),
    ],
)
def test_words_are_complete_when_all_was_said(*, said: bytes, complete: bool) -> None:
    file = os.memfd_create("words")
    os.write(file, said)

    assert LastWords(number=64, alone=63, file=file, ends=ENDS).are_complete() == complete
    os.close(file)
