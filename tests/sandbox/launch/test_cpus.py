"""Programs that count the CPUs count those that the cap on CPU time can keep busy."""

from __future__ import annotations

import math
import os
import subprocess
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

import pytest

from pytest_isolate.sandbox.spec import Limits
from pytest_isolate.sandbox.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Callable

ALLOWED: Final = frozenset(os.sched_getaffinity(0))

pytestmark = [pytest.mark.any_python, pytest.mark.needs("sandbox", "cpu")]


def count() -> list[int]:
    told = subprocess.run(["/usr/bin/nproc"], capture_output=True, text=True, check=True).stdout
    ask = getattr(os, "process_cpu_count", lambda: len(os.sched_getaffinity(0)))  # Python 3.13
    return [int(told), ask()]


def own() -> list[int]:
    return sorted(os.sched_getaffinity(0))


@pytest.mark.skipif(not os.access("/usr/bin/nproc", os.X_OK), reason="needs nproc")
@pytest.mark.parametrize("cpus", [0.5, 1, 1.5, 2, 64])
def test_as_many_cpus_are_counted_as_the_cap_can_keep_busy(
    ask: Callable[..., Any], cpus: float
) -> None:
    expected = min(math.ceil(cpus), len(ALLOWED))

    assert ask(count, Spec(limits=Limits(cpus=cpus))) == [expected, expected]


def test_without_a_cap_every_cpu_is_counted(ask: Callable[..., Any]) -> None:
    assert ask(own) == sorted(ALLOWED)


@pytest.mark.skipif(len(ALLOWED) == 1, reason="needs two CPUs")
def test_sandboxes_take_turns_on_the_cpus(ask: Callable[..., Any]) -> None:
    spec = Spec(limits=Limits(cpus=1))
    taken = [ask(own, spec) for _ in range(len(ALLOWED))]

    assert sorted(cpu for cpus in taken for cpu in cpus) == sorted(ALLOWED)
