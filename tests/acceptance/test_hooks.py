"""Hooks run where their books are: what reporters see, in pytest's process, once, and in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


@pytest.mark.parametrize("capture", ["fd", "sys", "no"])
def test_reporters_hear_everything_once_in_pytests_process(suite: Suite, capture: str) -> None:
    suite.copy("hooks/reporter", "hooks/ends")
    notes = suite.directory / "notes"

    plain = suite.run(f"--capture={capture}")
    plain_notes = notes.read_text("utf-8")
    isolated = suite.run("--isolate", f"--capture={capture}")

    assert isolated == plain
    assert notes.read_text("utf-8") == plain_notes
    assert "False" not in plain_notes
    assert plain_notes.count("interact") == 3
    assert plain.output.count("see shot.png") == 3


def test_death_is_an_exception_to_look_at(suite: Suite) -> None:
    suite.copy("hooks/reporter")
    suite.write({"dies": "import os\ndef test_dies(): os.abort()"})

    suite.run("--isolate")

    notes = (suite.directory / "notes").read_text("utf-8")
    assert notes.count("interact") == 1
    assert "Crashed: killed by SIGABRT" in notes


def test_hook_that_wants_a_fixture_of_the_test_ends_nothing(suite: Suite) -> None:
    suite.write({
        "conftest.py": """
            def pytest_exception_interact(node): node.funcargs["tmp_path"].exists()
        """,
        "two": "def test_one(tmp_path): assert 0\ndef test_two(): pass",
    })

    run = suite.run("--isolate")

    assert "1 failed, 1 passed, 1 warning" in run.output
    assert "pytest_exception_interact of a plugin or conftest failed" in run.output


def test_protocols_of_others_are_called_in_pytests_order(suite: Suite) -> None:
    suite.copy("hooks/protocols")
    suite.write({
        "two": "import warnings\ndef test_a(): warnings.warn('careful')\ndef test_b(): pass"
    })

    plain, isolated = suite.twice()

    assert "('conftest before test_b', 'test_a', True)" in plain.output
    assert isolated == plain


def test_plugin_that_runs_a_test_itself_is_told_of(suite: Suite) -> None:
    suite.write({
        "conftest.py": """
            import pytest
            class Impatient:
                def pytest_runtest_protocol(self, item):
                    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
                    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
                    return True
            def pytest_configure(config): config.pluginmanager.register(Impatient(), "impatient")
        """,
        "one": "def test_a(): pass",
    })

    run = suite.run("--isolate")

    assert "test_a did not run in its sandbox: its protocol was run by impatient" in run.output


def test_what_hooks_note_is_there_for_the_next_test_and_the_summary(suite: Suite) -> None:
    suite.copy("hooks/books")

    plain, isolated = suite.twice("-rA")

    assert "1 failed, 2 passed, 1 xfailed" in plain.output
    assert isolated == plain


def test_death_is_noted_as_a_failure_once(suite: Suite) -> None:
    suite.copy("hooks/books")

    run = suite.run("--isolate", DIES="1")

    assert "'failed': 2" in run.output  # with the one that fails by itself
    assert "'passed': 8, 'logged': 11" in run.output.replace("'torn down': 4, ", "")
    assert "'test_d': ['call', 'setup', 'teardown']" in run.output


def test_what_a_test_or_a_fixture_changes_is_no_note(suite: Suite) -> None:
    suite.write({
        "conftest.py": """
            import pytest
            SEEN = []
            @pytest.fixture
            def noting(request):
                request.session.noted = request.config.noted = True
                SEEN.append("by a fixture")
            def pytest_runtest_makereport(item): SEEN.append("by a hook")
        """,
        "two": """
            from conftest import SEEN
            def test_one(noting, request):
                request.session.noted = True
                SEEN.append("by a test")
            def test_two(request):
                assert set(SEEN) == {"by a hook"}
                assert not hasattr(request.session, "noted")
                assert not hasattr(request.config, "noted")
        """,
    })

    assert suite.run("--isolate").status == pytest.ExitCode.OK


def test_note_that_cannot_cross_leaves_the_others(suite: Suite) -> None:
    suite.write({
        "conftest.py": """
            import threading
            def pytest_runtest_setup(item):
                item.session.lock = threading.Lock()
                item.session.names = [*getattr(item.session, "names", ()), item.name]
            def pytest_terminal_summary(terminalreporter):
                session = terminalreporter._session
                terminalreporter.write_line(f"{session.names} {hasattr(session, 'lock')}")
        """,
        "two": "def test_a(): pass\ndef test_b(): pass",
    })

    assert "['test_a', 'test_b'] False" in suite.run("--isolate").output


def test_hook_that_fails_shows_the_same_traceback(suite: Suite) -> None:
    suite.write({
        "conftest.py": """
            import pytest
            def pytest_runtest_setup(item):
                if "setup" in item.name: raise ValueError("no")
            @pytest.hookimpl(wrapper=True)
            def pytest_runtest_call(item):
                try: return (yield)
                finally: assert "call" not in item.name
        """,
        "two": "def test_setup(): pass\ndef test_call(): pass",
    })

    plain, isolated = suite.twice()

    assert isolated == plain


def test_property_of_the_suite_that_a_wide_fixture_records_is_one_fact(suite: Suite) -> None:
    suite.write({
        "conftest.py": """
            import pytest
            @pytest.fixture(scope="session", autouse=True)
            def facts(record_testsuite_property):
                record_testsuite_property("ARCH", "riscv")
            @pytest.fixture(scope="module", params=["1", "2"])
            def build(request, record_testsuite_property):
                record_testsuite_property("BUILD", request.param)
        """,
        "one": """
            import pytest
            def test_a(build): pass
            def test_b(build): pass
            def test_each(record_testsuite_property): record_testsuite_property("EACH", "x")
            def test_too(record_testsuite_property): record_testsuite_property("EACH", "x")
        """,
        "other": "def test_c(build): pass",
    })

    plain, isolated = suite.twice()

    assert sum("ARCH" in line for line in plain.junit) == 1
    assert sorted(isolated.junit) == sorted(plain.junit)


@pytest.mark.parametrize(
    "replace",
    [
        "monkeypatch.setattr(copy, 'deepcopy', mock.Mock(name='deepcopy'))",
        "monkeypatch.setattr(copy, 'deepcopy', lambda _: 1 / 0)",
        "monkeypatch.setattr(dataclasses, 'asdict', lambda thing: {'fake': thing})",
        "monkeypatch.setattr(dataclasses, 'fields', mock.Mock())",
        "monkeypatch.delattr(dataclasses, 'asdict')",
        "monkeypatch.setattr(json.encoder, 'JSONEncoder', None)",
    ],
)
def test_failure_is_told_whatever_the_test_has_replaced(suite: Suite, replace: str) -> None:
    suite.write({
        "mocked": f"""
            import copy, dataclasses, json.encoder
            from unittest import mock
            def test_fails(monkeypatch):
                {replace}
                assert 1 == 2
        """
    })

    assert "FAILED test_mocked.py::test_fails - assert 1 == 2" in suite.run("--isolate").output


def test_modules_of_a_plugins_package_and_weak_dictionaries_are_books(suite: Suite) -> None:
    suite.write({
        "shop/__init__.py": "",
        "shop/books.py": "from weakref import WeakKeyDictionary\nBY_REPORT = WeakKeyDictionary()\n",
        "shop/plugin.py": """
            import pytest
            from . import books

            @pytest.hookimpl(wrapper=True)
            def pytest_runtest_makereport(item):
                report = yield
                books.BY_REPORT[report] = item.name
                return report

            def pytest_report_teststatus(report):
                if report.when == "call":
                    return report.outcome, ".", f"{report.outcome} {books.BY_REPORT[report]}"
        """,
        "two": "def test_a(): pass\ndef test_b(): assert 0",
    })

    plain, isolated = suite.twice("-p", "shop.plugin", "-v")

    assert isolated == plain
    assert "passed test_a" in plain.output
    assert "failed test_b" in plain.output
