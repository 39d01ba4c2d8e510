"""What is shown of control groups that a sandbox is not in: as much as a JVM looks for."""

from __future__ import annotations

from typing import Final

import pytest

from pytest_isolate.sandbox.cgroups.locate import UNIFIED
from pytest_isolate.sandbox.cgroups.shown import Shown
from pytest_isolate.sandbox.cgroups.shown import to_show

OTHERS: Final = {"cpu,cpuacct": "/c/cpu,cpuacct", "cpuset": "/c/cpuset"}


def test_beside_a_cap_on_memory_the_other_hierarchies_are_covered() -> None:
    own = {"memory": "/c/memory/run/1", "pids": "/c/pids/run/1"}

    assert to_show(own, OTHERS) == Shown(groups=own, covered=OTHERS)


def test_a_group_of_its_own_is_not_covered() -> None:
    own = {"memory": "/c/memory/run/1", "cpu,cpuacct": "/c/cpu,cpuacct/run/1"}

    assert to_show(own, OTHERS) == Shown(groups=own, covered={"cpuset": "/c/cpuset"})


@pytest.mark.parametrize("own", [{UNIFIED: "/c/run/1"}, {"pids": "/c/pids/run/1"}, {}])
def test_nothing_is_covered_where_a_jvm_would_find_no_cap(own: dict[str, str]) -> None:
    assert to_show(own, OTHERS) == Shown(groups=own)
