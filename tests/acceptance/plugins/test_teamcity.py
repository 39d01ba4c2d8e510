"""teamcity-messages, whose code PyCharm has: what an IDE is told of tests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Run
    from tests.acceptance.conftest import Suite


def messages(run: Run) -> list[str]:
    """Return the messages to the IDE, without their times."""
    found = re.findall(r"##teamcity\[.*\]$", run.output, re.MULTILINE)
    return [re.sub(r" (timestamp|duration)='[^']*'", "", one) for one in found]


def test_messages_are_those_of_a_plain_run(suite: Suite) -> None:
    suite.write({
        "a": """
            import pytest

            def test_passes(): print("said")
            def test_differs():
                left, right = {"a": [1, 2, 3]}, {"a": [1, 2, 4]}
                assert left == right
            def test_texts(): assert "one" == "two"
            def test_raises(): raise ValueError("no")
            @pytest.mark.skip(reason="closed")
            def test_skipped(): pass
            @pytest.mark.xfail(reason="known")
            def test_known(): assert 0
            @pytest.fixture
            def broken(): raise ValueError("broken")
            def test_error(broken): pass
            @pytest.fixture
            def later(): yield; raise ValueError("later")
            def test_late(later): pass
            @pytest.mark.parametrize("number", [1, 2])
            def test_each(number, subtests):
                with subtests.test("part"): assert number == 1
            class TestShop:
                def test_sells(self): assert 0
        """
    })

    plain, isolated = suite.twice("-p", "teamcity.pytest_plugin", "--teamcity")

    assert messages(isolated) == messages(plain)
    assert any("testFailed" in one and "actual=" in one for one in messages(plain))


def test_death_is_told(suite: Suite) -> None:
    suite.write({"a": "import os\ndef test_dies(): os.abort()\ndef test_lives(): pass\n"})

    run = suite.run("--isolate", "-p", "teamcity.pytest_plugin", "--teamcity")

    failed = [one for one in messages(run) if "testFailed" in one]
    assert len(failed) == 1
    assert "Crashed: killed by SIGABRT" in failed[0]
