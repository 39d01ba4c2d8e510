"""Mounts as values, and the one place where they are carried out."""

from __future__ import annotations

from pytest_isolate.sandbox.mounts.executor import execute

__all__ = ["execute"]
