"""The words in which systemd is asked for a scope, see busctl(1) for how a call is written."""

from __future__ import annotations

from pytest_isolate.sandbox.cgroups.systemd_scope import request


def test_all_processes_are_named_with_their_number() -> None:
    words = request("x.scope", [7, 8, 9])
    place = words.index("PIDs")

    assert words[place : place + 6] == ["PIDs", "au", "3", "7", "8", "9"]


def test_the_scope_is_delegated_and_goes_away_by_itself() -> None:
    line = " ".join(request("x.scope", [7]))

    assert "StartTransientUnit ssa(sv)a(sa(sv)) x.scope fail 4 " in line
    assert "Delegate b true" in line
    assert "CollectMode s inactive-or-failed" in line
    assert line.endswith(" 0")
