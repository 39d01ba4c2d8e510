"""Hermetic test isolation for pytest: each test in its own container.

The keeper imports this package in a bare interpreter, so importing it must not import pytest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_isolate.policy.model import Policy
    from pytest_isolate.policy.model import PolicyError
    from pytest_isolate.sandbox.errors import SandboxError
    from pytest_isolate.sandbox.outcome import Exited
    from pytest_isolate.sandbox.outcome import MemoryExceeded
    from pytest_isolate.sandbox.outcome import Outcome
    from pytest_isolate.sandbox.outcome import OutOfMemory
    from pytest_isolate.sandbox.outcome import SetupFailed
    from pytest_isolate.sandbox.outcome import Signaled
    from pytest_isolate.sandbox.outcome import TimedOut
    from pytest_isolate.sandbox.outcome import Usage
    from pytest_isolate.warning_types import PytestIsolateWarning

__all__ = [
    "Exited",
    "MemoryExceeded",
    "OutOfMemory",
    "Outcome",
    "Policy",
    "PolicyError",
    "PytestIsolateWarning",
    "SandboxError",
    "SetupFailed",
    "Signaled",
    "TimedOut",
    "Usage",
]

_PLACES = {
    "Policy": "policy.model",
    "PolicyError": "policy.model",
    "PytestIsolateWarning": "warning_types",
    "SandboxError": "sandbox.errors",
}


def __getattr__(name: str) -> object:
    """Import a public name on its first use: some need pytest, the keeper does not (PEP 562)."""
    if name in __all__:
        place = _PLACES.get(name, "sandbox.outcome")
        return getattr(import_module(f"{__name__}.{place}"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
