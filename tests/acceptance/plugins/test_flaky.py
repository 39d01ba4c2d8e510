"""flaky runs a test again in a fresh sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite
    from tests.acceptance.plugins.conftest import Counted


def test_reruns_are_the_same(suite: Suite, counted: Counted) -> None:
    suite.copy("plugins/flaky")

    plain, isolated = counted("-p", "flaky.flaky_pytest_plugin", "--no-flaky-report", "-rA")

    assert isolated == plain
