"""How faulthandler's watchdog is taken note of, paused and armed again."""

from __future__ import annotations

import faulthandler
import os
import time
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.child import watchdogs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO


@pytest.fixture(autouse=True)
def _installed() -> Iterator[None]:
    watchdogs.install()
    yield
    faulthandler.cancel_dump_traceback_later()
    watchdogs.remove()


@pytest.fixture
def file(tmp_path: os.PathLike[str]) -> Iterator[IO[str]]:
    with open(os.path.join(tmp_path, "said"), "w+", encoding="utf-8") as file:
        yield file


def said(file: IO[str]) -> int:
    """Return how often the watchdog has gone off."""
    file.seek(0)
    return file.read().count("Timeout")


def test_it_does_not_go_off_while_it_is_paused(file: IO[str]) -> None:
    faulthandler.dump_traceback_later(0.2, file=file)
    with watchdogs.paused(()):
        time.sleep(0.4)
    time.sleep(0.4)
    assert said(file) == 0


def test_it_goes_off_after_a_pause_when_it_would_have_without(file: IO[str]) -> None:
    start = time.monotonic()
    faulthandler.dump_traceback_later(0.6, file=file)
    with watchdogs.paused(()):
        time.sleep(0.3)
    while not said(file) and time.monotonic() - start < 20:
        time.sleep(0.01)
    assert 0.55 <= time.monotonic() - start < 5


def test_armed_or_cancelled_in_a_pause_it_is_left_alone(file: IO[str]) -> None:
    faulthandler.dump_traceback_later(0.2, file=file)
    with watchdogs.paused(()):
        faulthandler.cancel_dump_traceback_later()
    time.sleep(0.4)
    assert said(file) == 0
    faulthandler.dump_traceback_later(0.2, file=file)
    with watchdogs.paused(()):
        faulthandler.dump_traceback_later(100, file=file)
    time.sleep(0.4)
    assert said(file) == 0


def test_what_it_says_in_the_test_process_is_passed_on_once(file: IO[str]) -> None:
    faulthandler.dump_traceback_later(0.2, file=file)
    with watchdogs.paused(()) as watchdog:
        chore = watchdog.between(lambda: 99.0)
        if (pid := os.fork()) == 0:
            watchdog.arm()
            time.sleep(0.5)
            os._exit(0)
        assert 0 < chore() <= 0.2
        os.waitpid(pid, 0)
        chore()
        assert said(file) == 1
        assert watchdog.text().startswith("Timeout (0:00:00.200000)!\n")
        assert chore() < 1
    assert said(file) == 1


def test_without_one_there_is_nothing_to_do() -> None:
    def chore() -> float:
        return 99.0

    with watchdogs.paused(()) as watchdog:
        watchdog.arm()
        assert watchdog.between(chore) is chore
        assert (watchdog.fds, watchdog.text(), watchdog.lost) == ((), "", False)


def test_faulthandlers_functions_are_its_own_again_in_the_end() -> None:
    inside = faulthandler.dump_traceback_later
    watchdogs.install()
    assert faulthandler.dump_traceback_later is inside
    watchdogs.remove()
    assert faulthandler.dump_traceback_later is inside
