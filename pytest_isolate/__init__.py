"""Hermetic test isolation for pytest: each test in its own container.

The keeper imports this package in a bare interpreter, so importing it must not import pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_isolate.exceptions import PytestIsolateWarning

__all__ = ["PytestIsolateWarning"]


def __getattr__(name: str) -> object:
    """Import the public names on first use: they need pytest, the keeper does not (PEP 562)."""
    if name in __all__:
        from pytest_isolate import exceptions  # noqa: PLC0415  # see the module's docstring

        return getattr(exceptions, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
