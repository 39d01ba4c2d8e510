"""The loop: handlers are called for their own descriptor's events and for no other's."""

from __future__ import annotations

import os

from pytest_isolate.wire.loop import Loop


def test_readable_descriptors_are_handled_and_quiet_ones_are_not() -> None:
    loop = Loop()
    heard = []
    loud, loud_end = os.pipe()
    quiet, quiet_end = os.pipe()
    loop.watch(loud, lambda: heard.append("loud"))
    loop.watch(quiet, lambda: heard.append("quiet"))
    os.write(loud_end, b"!")
    loop.turn(0)
    for fd in (loud, loud_end, quiet, quiet_end):
        os.close(fd)

    assert heard == ["loud"]


def test_turn_ends_when_its_time_is_over() -> None:
    loop = Loop()
    reading, writing = os.pipe()
    loop.watch(reading, lambda: None)
    loop.turn(0.01)
    os.close(reading)
    os.close(writing)


def test_event_is_not_given_to_a_new_descriptor_of_the_same_number() -> None:
    loop = Loop()
    heard: list[int | str] = []
    pipes = [os.pipe() for _ in range(2)]

    def replace(mine: int, other: int) -> None:
        """Close the *other* and give its number, whose event is due, to a quiet newcomer."""
        heard.append(mine)
        loop.forget(other)
        os.dup2(newcomer, other)
        loop.watch(other, lambda: heard.append("stale"))

    (first, first_end), (second, second_end) = pipes
    newcomer, newcomer_end = os.pipe()
    loop.watch(first, lambda: replace(first, second))
    loop.watch(second, lambda: replace(second, first))
    os.write(first_end, b"!")
    os.write(second_end, b"!")
    loop.turn(0)
    for fd in (first, first_end, second, second_end, newcomer, newcomer_end):
        os.close(fd)

    assert len(heard) == 1
    assert "stale" not in heard
