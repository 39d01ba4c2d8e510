"""pytest-rerunfailures runs a test again in a fresh sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite
    from tests.acceptance.plugins.conftest import Counted


SUITE = """
    import pytest

    @pytest.fixture(scope="module")
    def wide():
        yield
        pass

    @pytest.mark.flaky(reruns=3)
    def test_flaky(wide): assert counted("flaky") == 3
    @pytest.mark.flaky(reruns=1)
    def test_always(wide): assert 0
    @pytest.mark.flaky(reruns=2, only_rerun=["KeyError"])
    def test_other_error(): raise ValueError("x")
    @pytest.mark.flaky(reruns=2, only_rerun=["KeyError"])
    def test_that_error(): raise KeyError("x")
    @pytest.mark.flaky(reruns=2, condition="isinstance(error, LookupError)")
    def test_condition(): raise KeyError("x")
    @pytest.mark.flaky(reruns=2)
    @pytest.mark.xfail
    def test_expected(): assert 0
    @pytest.fixture
    def broken(): assert counted("broken") == 2
    @pytest.mark.flaky(reruns=2)
    def test_setup(broken): pass
    def test_steady(wide): pass
    @pytest.mark.flaky(reruns=2)
    def test_parts(subtests):
        with subtests.test(): assert counted("parts") == 2
"""


def test_reruns_are_the_same(counted: Counted) -> None:
    plain, isolated = counted(SUITE, "-p", "pytest_rerunfailures", "-rA")

    assert isolated == plain


def test_killed_test_runs_again(suite: Suite) -> None:
    suite.write({"a": "import os\ndef test_a(): os.abort()\n"})

    run = suite.run("--isolate", "-p", "pytest_rerunfailures", "--reruns=2")

    assert "1 failed, 2 rerun" in run.output
