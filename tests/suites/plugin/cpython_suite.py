"""A pytest plugin that does for CPython's own tests what their runner does."""

from __future__ import annotations

import importlib
from typing import Any


def pytest_configure() -> None:
    """Allow what they may use: all but the world outside, sound and windows."""
    support: Any = importlib.import_module("test.support")
    support.use_resources = ["cpu", "curses", "decimal", "largefile", "subprocess", "walltime"]
