"""pytest-mypy runs mypy once, and sums up what it has said."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_mypy_runs_once_and_has_its_summary(suite: Suite) -> None:
    suite.write({
        "a": "def length(x: int) -> int:\n    return 'a'\n\ndef test_a() -> None: pass\n",
        "b": "def test_b() -> None: pass\n",
        "counted.py": """
            import os
            from mypy.plugin import Plugin

            def plugin(version):
                with open(os.environ["RUNS"], "a") as runs: runs.write(".")
                return Plugin
        """,
        "mypy.ini": "[mypy]\nplugins = counted.py\n",
    })
    found = []
    for arguments in ([], ["--isolate"]):
        runs = suite.directory.parent / f"runs{len(arguments)}"
        run = suite.run(*arguments, "-p", "pytest_mypy", "--mypy", RUNS=str(runs))
        found.append((run, runs.read_text("utf-8")))

    assert found[1] == found[0]
    assert "Found 1 error in 1 file" in found[0][0].output
    assert found[0][1] == "."
