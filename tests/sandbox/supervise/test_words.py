"""The last words of real processes: of some to which it is the end to say where all threads are."""

from __future__ import annotations

import ctypes
import faulthandler
import inspect
import mmap
import os
import re
import signal
import threading
import time
from typing import TYPE_CHECKING
from typing import Final

import pytest

from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.outcome import OutOfMemory
from pytest_isolate.sandbox.outcome import TimedOut
from pytest_isolate.sandbox.spec import Limits
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.supervise import execution
from pytest_isolate.sandbox.supervise.last_words import LastWords
from pytest_isolate.sandbox.supervise.last_words import answer

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from pytest_isolate.sandbox.pool import Pool
    from pytest_isolate.sandbox.supervise.execution import End

pytestmark = pytest.mark.needs("sandbox")

ALL: Final = signal.SIGRTMAX  #: which a relay passes on
ALONE: Final = signal.SIGRTMAX - 1
CAP: Final = 60 << 20


@pytest.fixture
def words() -> Iterator[LastWords]:
    file = os.memfd_create("words")
    # Where this interpreter has begun: a script's module, or runpy of `python -m pytest`.
    bottom = inspect.currentframe()
    while bottom is not None and bottom.f_back is not None:
        bottom = bottom.f_back
    assert bottom is not None
    ends = (f" in {bottom.f_code.co_name}\n".encode(), b"\n  ...\n")
    yield LastWords(number=ALL, alone=ALONE, file=file, ends=ends)
    os.close(file)


def ended(pool: Pool, words: LastWords, main: Callable[[], None], spec: Spec, limit: float) -> End:
    """Return how *main* ended, which tells *words* where it is."""

    def prepare(_: object) -> None:
        faulthandler.enable(words.file)
        answer(words.file, alone=ALONE, number=ALL)
        main()

    sandbox = pool.acquire(spec)
    try:
        entry = Entry(cwd="/", keep_fds=(words.file,))
        return execution.run(sandbox, entry, prepare, timeout=limit, last_words=words)
    finally:
        sandbox.retire()


def times_in_main(text: bytes) -> int:
    """Return how often *text* tells of a function of this file's: pytest has a `main` as well."""
    return len(re.findall(rb'test_words\.py", line \d+ in main\n', text))


def sleep_long() -> None:
    time.sleep(60)


def crash_if_asked_for_all(words: LastWords) -> None:
    """Do as an interpreter does that follows a frame of another thread to its end."""

    def crash(_number: int, _frame: object) -> None:
        os.write(words.file, b"Thread 0x1 (most recent call first):\n  File")
        ctypes.string_at(0)

    faulthandler.unregister(ALL)
    signal.signal(ALL, crash)


def test_one_stack_is_had_where_to_say_all_is_the_end(pool: Pool, words: LastWords) -> None:
    def main() -> None:
        crash_if_asked_for_all(words)
        sleep_long()

    end = ended(pool, words, main, Spec(), 0.5)

    assert end.outcome == TimedOut(0.5)
    assert b"in sleep_long" in words.text()
    assert b"Fatal" not in words.text()
    assert b"in crash" not in words.text()


@pytest.mark.needs("memory")
def test_a_cap_stays_the_reason_where_to_say_all_is_the_end(pool: Pool, words: LastWords) -> None:
    def eat() -> None:
        crash_if_asked_for_all(words)
        held = mmap.mmap(-1, 2 * CAP)
        for place in range(0, 2 * CAP, mmap.PAGESIZE):
            held[place] = 1

    end = ended(pool, words, eat, Spec(limits=Limits(memory=CAP)), 60)

    assert isinstance(end.outcome, OutOfMemory)
    assert b"in eat" in words.text()
    assert b"Fatal" not in words.text()


def test_other_threads_are_heard_where_the_main_thread_blocks_all_signals(
    pool: Pool, words: LastWords
) -> None:
    def main() -> None:
        threading.Thread(target=sleep_long, daemon=True).start()
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(60)

    end = ended(pool, words, main, Spec(), 0.5)

    assert end.outcome == TimedOut(0.5)
    assert b"in sleep_long" in words.text()
    assert times_in_main(words.text()) == 1


def test_threads_are_told_once_each(pool: Pool, words: LastWords) -> None:
    def main() -> None:
        threading.Thread(target=sleep_long, daemon=True).start()
        time.sleep(60)

    ended(pool, words, main, Spec(), 0.5)

    assert words.text().count(b"(most recent call first):") == 2
    assert times_in_main(words.text()) == 1
    assert b"Current thread" in words.text()
