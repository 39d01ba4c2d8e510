"""What the cgroup of a sandbox has counted, read from descriptors: one pread(2) each."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING
from typing import Final
from typing import TypeVar

from pytest_isolate.sandbox.outcome import Evidence

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST: Final = 4096
_Number = TypeVar("_Number", int, float)


def read_evidence(counters: Mapping[str, int]) -> Evidence:
    """Return what *counters*, descriptors by label as in `Group.counter_fds`, say.

    A counter whose group was removed counts nothing any more.
    """
    texts = {}
    for label, fd in counters.items():
        try:
            texts[label] = os.pread(fd, _LONGEST, 0)
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
    return parse(texts)


def parse(texts: Mapping[str, bytes]) -> Evidence:
    """Return the evidence in the contents of counter files, by label."""
    v1_oom = _table(texts.get("v1.memory.oom_control"))
    events = _table(texts.get("v2.memory.events"))
    microseconds = _table(texts.get("v2.cpu.stat")).get(b"usage_usec")
    nanoseconds = _number(texts.get("v1.cpuacct.usage"))
    hits = [
        _number(texts.get("v1.memory.failcnt")),
        events.get(b"max"),
        events.get(b"oom"),
    ]
    counted = [count for count in hits if count is not None]
    return Evidence(
        oom_kills=_first(v1_oom.get(b"oom_kill"), events.get(b"oom_kill")),
        limit_hits=sum(counted) if counted else None,
        memory_peak=_first(
            _number(texts.get("v1.memory.max_usage_in_bytes")),
            _number(texts.get("v2.memory.peak")),
        ),
        cpu_seconds=_first(
            None if microseconds is None else microseconds / 1e6,
            None if nanoseconds is None else nanoseconds / 1e9,
        ),
        pids_peak=_first(_number(texts.get("v1.pids.peak")), _number(texts.get("v2.pids.peak"))),
    )


def _number(text: bytes | None) -> int | None:
    return int(text) if text else None


def _table(text: bytes | None) -> dict[bytes, int]:
    """Return the numbers of a flat keyed file by key."""
    lines = (line.split() for line in (text or b"").splitlines())
    return {key: int(value) for key, value in lines}


def _first(*numbers: _Number | None) -> _Number | None:
    """Return the first number that was counted: a controller is in one hierarchy only."""
    return next((number for number in numbers if number is not None), None)
