"""Public warning classes."""

from __future__ import annotations

from typing import final

import pytest


@final
class PytestIsolateWarning(pytest.PytestWarning):
    """Isolation is less than its user may expect.

    Filter it as `pytest_isolate.PytestIsolateWarning`.
    """

    __module__ = "pytest_isolate"
