"""Who may be moved: pytest and its descendants."""

from __future__ import annotations

import pytest

from pytest_isolate.sandbox.cgroups import delegation

#: 10 is pytest, 11 its child, 12 a grandchild; 20 a shell above it, 21 another child of the shell.
PARENTS = {10: 20, 11: 10, 12: 11, 20: 1, 21: 20, 30: 0}


def test_pytest_and_its_descendants_are_family() -> None:
    assert delegation.descendants({10, 11, 12}, {10}, PARENTS) == {10, 11, 12}


@pytest.mark.parametrize("stranger", [20, 21, 30, 1])
def test_ancestors_and_their_other_children_are_strangers(stranger: int) -> None:
    assert delegation.descendants({stranger, 10}, {10}, PARENTS) == {10}


def test_init_is_family_only_as_a_head() -> None:
    assert delegation.descendants({1}, {1}, PARENTS) == {1}
