"""pytest-rerunfailures runs a test again in a fresh sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite
    from tests.acceptance.plugins.conftest import Counted


def test_reruns_are_the_same(suite: Suite, counted: Counted) -> None:
    suite.copy("plugins/rerunfailures")

    plain, isolated = counted("-p", "pytest_rerunfailures", "-rA")

    assert isolated == plain


def test_killed_test_runs_again(suite: Suite) -> None:
    suite.write({"a": "import os\ndef test_a(): os.abort()\n"})

    run = suite.run("--isolate", "-p", "pytest_rerunfailures", "--reruns=2")

    assert "1 failed, 2 rerun" in run.output
