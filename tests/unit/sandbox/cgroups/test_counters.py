"""Counter files are read as what they say, and what was not counted stays unknown."""

from __future__ import annotations

import os
import tempfile

from pytest_isolate.sandbox.cgroups import counters
from pytest_isolate.sandbox.outcome import Evidence

V1_OOM_CONTROL = b"oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
V2_EVENTS = b"low 0\nhigh 0\nmax 36\noom 1\noom_kill 2\noom_group_kill 0\n"
V2_CPU = b"usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnr_periods 0\n"


def test_nothing_counted_is_not_zero() -> None:
    assert counters.parse({}) == Evidence()


def test_v1_counters_are_read() -> None:
    found = counters.parse({
        "v1.memory.oom_control": V1_OOM_CONTROL,
        "v1.memory.failcnt": b"36\n",
        "v1.memory.max_usage_in_bytes": b"16777216\n",
        "v1.cpuacct.usage": b"2500000000\n",
        "v1.pids.peak": b"7\n",
    })

    assert found == Evidence(
        oom_kills=3, limit_hits=36, memory_peak=16777216, cpu_seconds=2.5, pids_peak=7
    )


def test_v2_counters_are_read() -> None:
    found = counters.parse({
        "v2.memory.events": V2_EVENTS,
        "v2.memory.peak": b"16777216\n",
        "v2.cpu.stat": V2_CPU,
        "v2.pids.peak": b"7\n",
    })

    assert found == Evidence(
        oom_kills=2, limit_hits=37, memory_peak=16777216, cpu_seconds=1.5, pids_peak=7
    )


def test_controllers_of_both_versions_make_one_evidence() -> None:
    found = counters.parse({"v1.memory.oom_control": V1_OOM_CONTROL, "v2.pids.peak": b"7\n"})

    assert found == Evidence(oom_kills=3, pids_peak=7)


def test_zero_is_a_count() -> None:
    found = counters.parse({
        "v1.memory.oom_control": b"oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
        "v1.memory.failcnt": b"0\n",
    })

    assert found == Evidence(oom_kills=0, limit_hits=0)


def test_kernel_that_does_not_count_oom_kills_leaves_them_unknown() -> None:
    found = counters.parse({"v1.memory.oom_control": b"oom_kill_disable 0\nunder_oom 0\n"})

    assert found.oom_kills is None


def test_a_counter_can_be_read_again() -> None:
    with tempfile.TemporaryFile() as counter:
        counter.write(b"7\n")
        counter.flush()
        files = {"v2.pids.peak": counter.fileno()}

        assert counters.read_evidence(files) == Evidence(pids_peak=7)
        os.pwrite(counter.fileno(), b"8\n", 0)
        assert counters.read_evidence(files) == Evidence(pids_peak=8)
