"""pytest-timeout's limit becomes the sandbox's, and its end a failure of one test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

SLOW = """
    import time, pytest
    @pytest.mark.timeout(0.5{more})
    def test_slow(): print("told"); time.sleep(60)
    def test_after(): pass
"""


@pytest.mark.parametrize("more", ["", ", method='thread'"])
def test_marker_is_the_limit(more: str, suite: Suite) -> None:
    suite.write({"a": SLOW.format(more=more)})

    run = suite.run("--isolate", "-p", "pytest_timeout")

    assert run.reports("test_slow")["call"]["text"].startswith(
        "Timed out: exceeded its limit of 0.5 s"
    )
    assert run.outcomes("test_after") == {"setup": "passed", "call": "passed", "teardown": "passed"}


def test_function_alone(suite: Suite) -> None:
    suite.write({"a": SLOW.format(more=", func_only=True")})

    plain, isolated = suite.twice("-p", "pytest_timeout")

    assert isolated == plain
