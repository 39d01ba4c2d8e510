"""pytest-testmon knows which tests run the code that has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_only_the_tests_of_changed_code_run_again(suite: Suite) -> None:
    files = {
        "one.py": "def one():\n    return 1\n",
        "two.py": "def two():\n    return 2\n",
        "a": """
            from one import one
            from two import two

            def test_one(): assert one()
            def test_two(): assert two()
        """,
    }
    found = []
    for arguments in ([], ["--isolate"]):
        suite.write(files)
        (suite.directory / ".testmondata").unlink(missing_ok=True)
        plugin = ["-p", "testmon.pytest_testmon", "--testmon"]
        runs = [suite.run(*arguments, *plugin)]
        suite.write({"two.py": "def two():\n    return 2 + 1\n"})
        runs += [suite.run(*arguments, *plugin), suite.run(*arguments, *plugin)]
        names = [{event["nodeid"] for event in run.events if "nodeid" in event} for run in runs]
        assert not any(run.stderr for run in runs)  # where a tracer that goes on would complain
        found.append((names, [run.status for run in runs]))

    one, two = "test_a.py::test_one", "test_a.py::test_two"
    assert found[1] == found[0]
    assert found[0][0] == [{one, two}, {two}, set()]
