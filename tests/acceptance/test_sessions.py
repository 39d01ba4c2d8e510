"""Isolated tests among others, in one session: whose fixtures live where, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def log(suite: Suite, *arguments: str) -> list[str]:
    """Run *suite* and return what its fixtures told."""
    place = suite.directory / "told"
    place.mkdir()
    run = suite.run(f"--isolate-writable={place}", *arguments)
    assert run.status == pytest.ExitCode.OK, run.output
    return (place / "log").read_text("utf-8").splitlines()


def test_fixture_alive_in_the_parent_is_inherited_and_finalised_there_once(suite: Suite) -> None:
    suite.copy("sessions")
    suite.write({
        "mixed": """
            import pytest
            def test_first(f): pass
            @pytest.mark.isolated
            def test_isolated(f): assert f == "function"
            def test_last(f): pass
        """,
    })

    assert log(suite) == [
        "main session up",
        "main module up",
        "main function up",
        "main function down",
        "child function up",
        "child function down",
        "main function up",
        "main function down",
        "main module down",
        "main session down",
    ]


def test_fixture_made_in_a_sandbox_lives_there(suite: Suite) -> None:
    suite.copy("sessions")
    suite.write({
        "isolated_first": """
            import pytest
            @pytest.mark.isolated
            def test_isolated(m): pass
            def test_other(m): pass
        """,
    })

    assert log(suite) == [
        "child session up",
        "child module up",
        "child module down",
        "child session down",
        "main session up",
        "main module up",
        "main module down",
        "main session down",
    ]


def test_parent_tears_down_what_the_next_test_does_not_need(suite: Suite) -> None:
    suite.copy("sessions")
    suite.write({
        "a": """
            import pytest
            def test_first(m): pass
            @pytest.mark.isolated
            def test_last_of_its_module(): pass
        """,
        "b": "def test_next(s): pass\n",
    })

    lines = log(suite, "--durations=0")

    assert lines == [
        "main session up",
        "main module up",
        "main module down",
        "main session down",
    ]


def test_all_isolated_tests_make_their_own_fixtures(suite: Suite) -> None:
    suite.copy("sessions")
    suite.write({"two": "def test_a(s): pass\ndef test_b(s): pass\n"})

    assert log(suite, "--isolate") == ["child session up", "child session down"] * 2


def test_fixture_of_another_parameter_is_made_anew_with_all_that_needs_it(suite: Suite) -> None:
    suite.copy("sessions")
    suite.write({
        "parameters": """
            import pytest
            @pytest.mark.parametrize("letter", ["A"], indirect=True)
            def test_first(letter, doubled): assert doubled == "AA"
            @pytest.mark.isolated
            @pytest.mark.parametrize("letter", ["B"], indirect=True)
            def test_isolated(letter, doubled): assert doubled == "BB"
            @pytest.mark.parametrize("letter", ["A"], indirect=True)
            def test_last(letter, doubled): assert doubled == "AA"
        """,
    })

    lines = log(suite, "-p", "no:randomly")

    assert [line for line in lines if line.startswith("child")] == [
        "child up B",
        "child down doubled B",
        "child down B",
    ]
    assert sum(line == "main down A" for line in lines) == sum(
        line == "main up A" for line in lines
    )


def test_error_of_the_parents_teardown_is_the_isolated_tests_teardown_error(suite: Suite) -> None:
    suite.write({
        "teardown": """
            import logging, pytest
            @pytest.fixture(scope="module")
            def breaks():
                yield
                print("printed"); logging.warning("logged"); raise ValueError("broke")
            def test_first(breaks): pass
            @pytest.mark.isolated
            def test_isolated(breaks): print("in the test")
        """,
    })

    run = suite.run()

    assert run.outcomes("test_isolated") == {
        "setup": "passed",
        "call": "passed",
        "teardown": "failed",
    }
    report = run.reports("test_isolated")["teardown"]
    assert "ValueError: broke" in report["text"]
    sections = dict(report["sections"])
    assert sections["Captured stdout call"] == "in the test\n"
    assert sections["Captured stdout teardown"] == "printed\n"
    assert "logged" in sections["Captured log teardown"]


@pytest.mark.needs("sandbox")
@pytest.mark.parametrize(("recourse", "outcome"), [("fail", "failed"), ("skip", "skipped")])
def test_sandbox_that_cannot_be_had_fails_or_skips_the_test(
    recourse: str, outcome: str, suite: Suite
) -> None:
    suite.write({
        "one": """
            import pytest
            @pytest.mark.xfail
            def test_a(): pass
            def test_b(): pass
        """,
        "conftest.py": """
            import os
            def pytest_collection_modifyitems(): os.rmdir("gone")
        """,
    })
    (suite.directory / "gone").mkdir()

    run = suite.run("--isolate", "--isolate-writable=gone", f"--isolate-unavailable={recourse}")

    for name in ("test_a", "test_b"):
        assert run.outcomes(name) == {"setup": outcome, "teardown": "passed"}
        report = run.reports(name)["setup"]
        assert "Isolation failed: keep" in report["text"]
        assert "gone writable: no such file or directory" in report["text"]
        assert run.properties[report["nodeid"]]["isolate.outcome"] == "isolation"


def test_no_isolate_runs_marked_tests_in_the_parent(suite: Suite) -> None:
    suite.write({
        "one": """
            import os, pytest
            MAIN = os.getpid()
            @pytest.mark.isolated
            def test_a(): assert os.getpid() == MAIN
        """
    })

    assert suite.run("--no-isolate").status == pytest.ExitCode.OK
    assert suite.run().status == pytest.ExitCode.TESTS_FAILED


def test_thread_that_a_fork_leaves_behind_is_warned_of_once(suite: Suite) -> None:
    suite.write({
        "threads": """
            import pytest, threading
            @pytest.fixture(scope="module")
            def server():
                event = threading.Event()
                thread = threading.Thread(target=event.wait, name="server")
                thread.start()
                yield
                event.set(); thread.join()
            def test_first(server): pass
            @pytest.mark.isolated
            def test_second(server): pass
            @pytest.mark.isolated
            def test_third(server): pass
        """
    })

    run = suite.run()

    warned = [event for event in run.events if event["hook"] == "warning"]
    assert [(event["category"], event["nodeid"]) for event in warned] == [
        ("PytestIsolateWarning", "test_threads.py::test_second")
    ]
    assert "server" in warned[0]["text"]


@pytest.mark.parametrize("option", ["--no-isolate", "--isolate-memory=1G"])
def test_session_without_isolated_tests_imports_next_to_nothing_of_the_plugin(
    suite: Suite, option: str
) -> None:
    suite.write({
        "x": """
        import sys
        def test_imports():
            imported = {
                name.removeprefix("pytest_isolate.")
                for name, module in sys.modules.items()
                if name.startswith("pytest_isolate.") and not hasattr(module, "__path__")
            }
            heavy = {"session.runner", "child.program", "sandbox.pool"}
            assert "plugin" in imported
            assert not imported.intersection(heavy)
            assert len(imported) < 12, imported
        """,
    })

    assert suite.run(option).status == 0


def test_item_that_was_not_collected_is_isolated_as_well(suite: Suite) -> None:
    suite.write({
        "conftest.py": """
        import os, pytest

        PARENT = os.getpid()

        class Made(pytest.Item):
            def runtest(self): assert os.getpid() != PARENT

        def pytest_runtestloop(session):
            item = Made.from_parent(session, name="made")
            item.add_marker("isolated")
            session.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            return True
        """,
        "x": "def test_plain(): pass",
    })

    run = suite.run()
    assert run.status == 0
    assert [e["outcome"] for e in run.events if e["hook"] == "report"] == ["passed"] * 3


def test_interpreter_that_cannot_be_executed_is_named(suite: Suite) -> None:
    suite.write({
        "conftest.py": "import sys; sys.executable = '/nowhere/python'",
        "x": "def test_a(): pass",
    })

    run = suite.run("--isolate")

    assert run.reports("test_a")["setup"]["text"] == (
        "Isolation failed: start the keeper of the sandboxes: execute /nowhere/python: this user"
        " may not, or it is not there (run pytest by an interpreter that this user may execute)"
    )
