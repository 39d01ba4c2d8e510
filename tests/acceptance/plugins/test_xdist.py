"""Tests that pytest-xdist's workers run are isolated, and their deaths leave the workers alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


SUITE = """
    import os, pytest, signal

    @pytest.mark.parametrize("number", range(6))
    def test_passes(number): assert os.environ["PYTEST_XDIST_WORKER"].startswith("gw")
    def test_fails(): assert 0
    def test_skipped(): pytest.skip("x")
    @pytest.mark.xfail
    def test_expected(): assert 0
"""


def test_outcomes_are_the_same(suite: Suite) -> None:
    suite.write({"a": SUITE})

    plain, isolated = suite.twice("-p", "xdist.plugin", "-n2")

    assert isolated.status == plain.status
    assert sorted(isolated.junit) == sorted(plain.junit)


def test_crash_leaves_the_worker(suite: Suite) -> None:
    suite.write({
        "a": """
            import os, pytest
            @pytest.mark.parametrize("n", range(4))
            def test_a(n): os.abort()
        """,
        "b": "def test_b(): pass\n",
    })

    run = suite.run("--isolate", "-p", "xdist.plugin", "-n2")

    assert "4 failed, 1 passed" in run.output
    assert "replacing crashed worker" not in run.output
    assert run.output.count("Crashed: killed by SIGABRT") >= 4


@pytest.mark.parametrize("options", [["--isolate"], []], ids=["all", "marked"])
def test_figures_come_from_the_workers(options: list[str], suite: Suite) -> None:
    suite.write({
        "food": """
            import pytest
            @pytest.mark.isolated
            def test_much(): assert bytearray(80_000_000).replace(b"0", b"1")
            def test_little(): pass
        """
    })

    run = suite.run(*options, "--isolate-top=1", "-p", "xdist.plugin", "-n2")

    _, _, after = run.output.partition(" hungriest 1 tests ==\n")
    line = after.partition("\n")[0]
    assert "MiB of 1.0 GiB " in line
    assert line.endswith(" wall  test_food.py::test_much")


def test_what_tests_leave_behind_comes_from_the_workers(suite: Suite) -> None:
    suite.write({
        "leaks": """
            import pytest
            @pytest.mark.parametrize("n", range(4))
            def test_a(n): open(f"/tmp/file{n}", "w").close(); assert n
        """
    })
    temporary = suite.directory.parent / "temporary"
    temporary.mkdir()

    run = suite.run(
        *("--isolate", "--isolate-report-leaks=summary", "--isolate-keep=all"),
        *("-p", "xdist.plugin", "-n2"),
        TMPDIR=str(temporary),
    )

    for n in range(4):
        assert (
            f"test_leaks.py::test_a[{n}]: 1 path written (0 B)\n  wrote /tmp/file{n} (0 B)\n"
            in run.output
        )
    (place,) = temporary.glob("isolate-kept-of-*/*")
    assert len(list(place.glob("test_leaks.py/*/files/tmp/file*"))) == 4


def test_wrong_marker_is_a_usage_error(suite: Suite) -> None:
    suite.write({"a": "import pytest\n@pytest.mark.isolated(memory='lots')\ndef test_a(): pass\n"})

    run = suite.run("-p", "xdist.plugin", "-n2")

    assert run.status == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: test_a.py::test_a: " in run.stderr
    assert "memory='lots'" in run.stderr
    assert "INTERNALERROR" not in run.output
