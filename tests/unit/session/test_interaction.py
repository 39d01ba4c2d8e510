"""The terminal is shared as the options say, and whoever looks at failures sees what is printed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_isolate.session.interaction import Interaction


def config(*, shells: bool = False, **options: Any) -> Any:
    """Return a configuration with *options*, and no plugin."""
    return SimpleNamespace(
        option=SimpleNamespace(**{"capture": "fd", **options}),
        getoption={"isolate_shell": shells}.__getitem__,
        pluginmanager=SimpleNamespace(get_plugin=lambda _: None),
    )


def test_nobody_is_there_unasked() -> None:
    nobody = Interaction.of(config())

    assert nobody == Interaction(debugger=False, shells=False, live=False)
    assert not nobody.attended


@pytest.mark.parametrize("options", [{"capture": "no"}, {"capture": "tee-sys"}, {"setupshow": 1}])
def test_what_is_printed_live_is_not_attended(options: dict[str, Any]) -> None:
    live = Interaction.of(config(**options))

    assert live == Interaction(debugger=False, shells=False, live=True)
    assert not live.attended


@pytest.mark.parametrize("option", ["usepdb", "trace"])
def test_the_debugger_looks_at_failures_and_its_test_is_live(option: str) -> None:
    debugger = Interaction.of(config(**{option: True}))

    assert debugger == Interaction(debugger=True, shells=False, live=True)
    assert debugger.attended


def test_a_shell_looks_at_failures_and_its_test_is_live() -> None:
    shells = Interaction.of(config(shells=True))

    assert shells == Interaction(debugger=False, shells=True, live=True)
    assert shells.attended
