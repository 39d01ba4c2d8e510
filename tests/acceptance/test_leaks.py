"""`--isolate-report-leaks` tells what tests leave behind, or lets them fail for it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite
    from tests.conftest import Footprint

COUNTS: Final = "1 process, 1 thread, 3 paths written (2.9 KiB)"


def lines_of(suite: Suite) -> list[str]:
    return [
        "thread napper (daemon)",
        "wrote /dev/shm/shared (0 B)",
        f"wrote {suite.directory}/data (7 B)",
        "wrote /tmp/file (2.9 KiB)",
    ]


@pytest.fixture
def leaky(suite: Suite) -> Suite:
    suite.copy("leaks")
    (suite.directory / "data").write_text("before", encoding="utf-8")
    return suite


@pytest.mark.needs("sandbox")
def test_summary_tells_each_test_that_left_something(leaky: Suite, footprint: Footprint) -> None:
    run = leaky.run("--isolate", "--isolate-report-leaks=summary")

    _, _, text = run.output.partition("= left behind by tests =")
    for line in (f"test_leaks.py::test_leaks: {COUNTS}", *(f"  {one}" for one in lines_of(leaky))):
        assert f"\n{line}\n" in text
    assert ": sleep 1000\n" in text
    assert "test_clean" not in text
    assert "test_let" not in text
    assert "test_dies: 1 path written (0 B)" in text
    assert run.outcomes("test_leaks") == {"setup": "passed", "call": "passed", "teardown": "passed"}
    assert footprint.left() == []


@pytest.mark.needs("sandbox")
def test_fail_is_a_failure_of_the_teardown(leaky: Suite) -> None:
    run = leaky.run("--isolate", "--isolate-report-leaks=fail")

    report = run.reports("test_leaks")["teardown"]
    assert report["outcome"] == "failed"
    first, process, *others = report["text"].splitlines()
    assert first == f"Left behind: {COUNTS}"
    assert process.startswith("process ")
    assert process.endswith(": sleep 1000")
    assert sorted(others) == sorted(lines_of(leaky))
    assert run.outcomes("test_clean")["teardown"] == "passed"
    assert run.outcomes("test_let")["teardown"] == "passed"
    assert run.outcomes("test_fails") == {"setup": "passed", "call": "failed", "teardown": "failed"}
    assert "left behind by tests" not in run.output
    assert run.properties[report["nodeid"]]["isolate.outcome"] == "finished"


@pytest.mark.needs("sandbox")
@pytest.mark.parametrize("name", ["test_dies", "test_teardown"])
def test_test_that_had_no_chance_to_clean_up_is_told_only(name: str, leaky: Suite) -> None:
    run = leaky.run("--isolate", "--isolate-report-leaks=fail")

    report = run.reports(name)["teardown"]
    assert report["outcome"] == ("passed" if name == "test_dies" else "failed")
    assert dict(report["sections"])["Left behind after teardown"].startswith("Left behind: 1 path")
    assert "Left behind" not in report["text"]


@pytest.mark.needs("sandbox")
def test_ini_and_marker_can_ask(suite: Suite) -> None:
    suite.write({
        "asks": """
            import pytest
            def write(): open("/tmp/file", "w").close()
            @pytest.mark.isolated(report_leaks="fail")
            def test_marker(): write()
            @pytest.mark.isolated
            def test_ini(): write()
            def test_not_isolated(): pass
        """,
        "pytest.ini": "[pytest]\nisolate_report_leaks = summary\n",
    })

    run = suite.run()

    assert run.outcomes("test_marker")["teardown"] == "failed"
    assert run.outcomes("test_ini")["teardown"] == "passed"
    assert "test_asks.py::test_ini: 1 path written (0 B)" in run.output


def test_off_looks_at_nothing(leaky: Suite) -> None:
    run = leaky.run("--isolate")

    assert "eft behind" not in run.output


def test_temporary_directories_of_pytest_are_no_leak(suite: Suite) -> None:
    suite.write({
        "asked": "def test_a(tmp_path): (tmp_path / 'file').touch()",
        "found": "def test_a(request): (request.getfixturevalue('tmp_path') / 'file').touch()",
    })

    run = suite.run("--isolate", "--isolate-report-leaks=fail")

    assert run.status == pytest.ExitCode.OK, run.output
