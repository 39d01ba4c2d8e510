"""pytest-ruff: what ruff has found is the report, and not the stack of who has called it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_findings_are_the_report(suite: Suite) -> None:
    suite.write({"a": "import os\ndef test_a(): pass\n", "b": "def test_b(): pass\n"})

    plain, isolated = suite.twice("-p", "pytest_ruff", "--ruff", "-p", "no:cacheprovider")

    assert isolated == plain
    assert "`os` imported but unused" in plain.output
    assert "Traceback" not in plain.output
