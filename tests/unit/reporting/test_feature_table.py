"""The doctor's table: a row a capability, and what to do about it below."""

from __future__ import annotations

import errno

from pytest_isolate.reporting.feature_table import rows
from pytest_isolate.sandbox.features import Capability


def test_each_state_has_its_words() -> None:
    table = rows([
        Capability(name="userns", available=True, how="one id"),
        Capability(name="proc", available=True, lacks="read-only: /proc", fix="unmask"),
        Capability(name="net", available=False, why="unshare: No", fix="ask", code=errno.EPERM),
        Capability(name="cpu", available=False, why="no controller"),
    ])

    assert list(table) == [
        "userns  yes      one id",
        "proc    partial  read-only: /proc",
        "                 fix: unmask",
        "net     no       unshare: No (EPERM)",
        "                 fix: ask",
        "cpu     no       no controller",
    ]


def test_fix_that_neighbours_share_is_said_once() -> None:
    table = rows([
        Capability(name=name, available=False, why="refused", fix="ask") for name in "ab"
    ])

    assert list(table) == ["a  no       refused", "b  no       refused", "            fix: ask"]


def test_fix_of_what_is_there_is_not_said() -> None:
    assert list(rows([Capability(name="a", available=True, fix="ask")])) == ["a  yes"]
