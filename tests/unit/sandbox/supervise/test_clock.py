from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from pytest_isolate.sandbox.supervise.clock import Clock
from pytest_isolate.sandbox.supervise.clock import Deadline
from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    import pytest


class Hands:
    """A clock's hands that are moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = 100.0
        monkeypatch.setattr(RealOS, "monotonic", lambda: self.time)


def test_clock_goes_with_the_machines() -> None:
    clock = Clock()
    before = time.monotonic()

    assert before <= clock.now() <= time.monotonic()


def test_stopped_clock_stands_and_goes_on_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    hands = Hands(monkeypatch)
    clock = Clock()
    hands.time += 1
    clock.stop()
    hands.time += 10
    clock.stop()
    assert (clock.stands, clock.now()) == (True, 101.0)

    clock.go_on()
    hands.time += 2
    clock.go_on()

    assert (clock.stands, clock.now()) == (False, 103.0)


def test_deadline_is_not_reached_while_the_clock_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    hands = Hands(monkeypatch)
    clock = Clock()
    deadline = Deadline(5.0, clock)
    hands.time += 3
    assert deadline.milliseconds() == 2000
    assert deadline.milliseconds(at_most=1.5) == 1500

    clock.stop()
    hands.time += 60
    assert not deadline.is_over()
    assert deadline.milliseconds() is None
    assert deadline.milliseconds(at_most=1.5) == 1500

    clock.go_on()
    assert not deadline.is_over()
    hands.time += 2
    assert deadline.is_over()
    assert deadline.milliseconds() == 0


def test_no_deadline_is_never_over() -> None:
    deadline = Deadline(None, Clock())

    assert not deadline.is_over()
    assert deadline.milliseconds() is None
    assert deadline.milliseconds(at_most=math.inf) is None
