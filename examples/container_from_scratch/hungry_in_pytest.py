"""Step 6 as tests: hungry.py fails, and the run goes on. Not collected unless it is named."""

from __future__ import annotations

from pathlib import Path
import runpy

import pytest


@pytest.mark.isolated(memory="100M")
def test_hungry() -> None:
    runpy.run_path(str(Path(__file__).with_name("hungry.py")))


@pytest.mark.isolated
def test_modest() -> None:
    assert len(b"x" * 10_000_000) == 10_000_000
