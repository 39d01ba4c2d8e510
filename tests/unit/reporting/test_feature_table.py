"""The doctor's table: a row a capability, and what to do about it below."""

from __future__ import annotations

import errno

from pytest_isolate.reporting.feature_table import rows
from pytest_isolate.sandbox.features import Capability


def test_each_state_has_its_words() -> None:
    table = rows([
        Capability(name="userns", available=True, how="one id"),
        Capability(name="proc", available=True, lacks="read-only: /proc", mend="unmask"),
        Capability(name="net", available=False, why="unshare: No", mend="ask", code=errno.EPERM),
        Capability(name="cpu", available=False, why="no controller"),
    ])

    assert list(table) == [
        "userns  yes      one id",
        "proc    partial  read-only: /proc",
        "                 mend: unmask",
        "net     no       unshare: No (EPERM)",
        "                 mend: ask",
        "cpu     no       no controller",
    ]


def test_mend_that_neighbours_share_is_said_once() -> None:
    table = rows([
        Capability(name=name, available=False, why="refused", mend="ask") for name in "ab"
    ])

    assert list(table) == ["a  no       refused", "b  no       refused", "            mend: ask"]


def test_mend_of_what_is_there_is_not_said() -> None:
    assert list(rows([Capability(name="a", available=True, mend="ask")])) == ["a  yes"]
