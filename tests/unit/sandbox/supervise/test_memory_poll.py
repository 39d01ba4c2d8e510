"""The arithmetic of a memory cap that is kept by looking."""

from __future__ import annotations

import pytest

from pytest_isolate.sandbox.supervise.memory_poll import Memory
from pytest_isolate.sandbox.supervise.memory_poll import parse_rollup
from pytest_isolate.sandbox.supervise.memory_poll import pause_after

MIB = 1 << 20


def test_a_process_that_shares_nothing_takes_all_that_it_has() -> None:
    fields = {
        "Anonymous": 50 * MIB,
        "Pss_Anon": 50 * MIB,
        "Pss_Shmem": 3 * MIB,
        "Pss_File": 9 * MIB,
    }

    assert parse_rollup(fields) == Memory(proportional=53 * MIB, lent=0)


def test_what_is_shared_with_a_fork_counts_for_the_fork() -> None:
    # 60 MiB are shared by three, 10 MiB are its own.
    fields = {"Anonymous": 70 * MIB, "Pss_Anon": 30 * MIB}

    assert parse_rollup(fields) == Memory(proportional=30 * MIB, lent=40 * MIB)


def test_swapped_memory_is_memory() -> None:
    fields = {"Anonymous": 0, "Pss_Anon": 0, "Swap": 8 * MIB, "SwapPss": 4 * MIB}

    assert parse_rollup(fields) == Memory(proportional=4 * MIB, lent=4 * MIB)


@pytest.mark.parametrize(
    ("room", "cost", "pause"),
    [
        (-1, 0.0, 0.005),
        (0, 0.0, 0.005),
        (100 << 30, 0.0, 0.1),
        (0, 0.02, 0.2),
        (200 * MIB, 0, 0.049),
    ],
)
def test_the_nearer_the_cap_the_sooner_the_next_look_but_looking_never_takes_long(
    room: int, cost: float, pause: float
) -> None:
    assert pause_after(room, cost) == pytest.approx(pause, abs=0.001)
