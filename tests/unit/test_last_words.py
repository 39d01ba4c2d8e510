"""What a process has said before it died, and of what moment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox.inquest import LastWords

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
    for _ in range(2):  # two alarms without an answer
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
