"""coverage.py's data is the same, measured by pytest-cov or by `coverage run`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


MODULE = """
    def choose(x):
        if x:
            return 1
        return 2
    def count(x):
        for i in range(x):
            if i > 5:
                print(i)
    def set_up(): return 1
    def tear_down(): return 2
    def in_subprocess(): return 3
    def never(): return 4
"""
TESTS = """
    import subprocess, sys, threading
    import measured, pytest

    @pytest.fixture
    def thing():
        yield measured.set_up()
        measured.tear_down()
    def test_one(thing): assert measured.choose(1) == 1
    def test_other(): assert measured.choose(0) == 1
    @pytest.mark.parametrize("number", range(3))
    def test_many(number): measured.count(number)
    def test_thread():
        thread = threading.Thread(target=measured.count, args=(7,))
        thread.start()
        thread.join()
    def test_subprocess():
        code = "import measured; measured.in_subprocess()"
        subprocess.run([sys.executable, "-c", code], check=True)
    @pytest.mark.no_cover
    def test_not_measured(): measured.never()
    def test_import():
        import late
"""
READ = """
    import coverage, json
    data = coverage.CoverageData()
    data.read()
    found = {}
    for context in data.measured_contexts():
        data.set_query_context(context)
        for file in data.measured_files():
            marks = [data.lines(file) or (), data.arcs(file) or ()]
            found[f"{context} {file}"] = [sorted(some) for some in marks]
    print(json.dumps(found))
"""
FILES = {
    "a": TESTS,
    "measured.py": MODULE,
    "late.py": "def f():\n    pass\n",
    "read.py": READ,
    ".coveragerc": "[run]\nsource = .\nomit = read.py\nparallel = false\npatch = subprocess\n",
}
WAYS = {
    "lines": ("pytest", ["--cov=."]),
    "branches": ("pytest", ["--cov=.", "--cov-branch"]),
    "contexts": ("pytest", ["--cov=.", "--cov-branch", "--cov-context=test"]),
    "run": ("coverage", []),
    "run_branches": ("coverage", ["--branch"]),
}


@pytest.mark.parametrize("name", WAYS)
def test_data_is_the_same(name: str, suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    suite.write({
        "a": TESTS,
        "measured.py": MODULE,
        "late.py": "def f():\n    pass\n",
        "read.py": READ,
    })
    # With workers, coverage.py's patch loses the data of a plain run now and then.
    patch = "" if name == "xdist" else "patch = subprocess\n"
    suite.write({".coveragerc": f"[run]\nsource = .\nomit = read.py\nparallel = false\n{patch}"})
    program, options = WAYS[name]
    if name == "contexts":
        # The core that is the default since 3.14 loses contexts, and which ones is chance.
        monkeypatch.setenv("COVERAGE_CORE", "ctrace")
    plain = _measure(suite, program, options, [])
    isolated = _measure(suite, program, options, ["--isolate"])

    assert isolated == plain
    assert not list(suite.directory.glob(".coverage.*"))
    marks = str(plain)
    assert "measured.py" in marks
    assert "late.py" in marks


@pytest.mark.parametrize("setting", ["", "dynamic_context = test_function"])
def test_a_warning_of_a_whole_session_is_said_once(setting: str, suite: Suite) -> None:
    """That a core cannot tell contexts apart, or that two settings ask for them."""
    suite.write({
        "a": "import pytest\n@pytest.mark.parametrize('n', range(4))\ndef test_a(n): assert n\n",
        "read.py": READ,
        ".coveragerc": f"[run]\nsource = .\nomit = read.py\n{setting}\n",
    })
    options = ["--cov=.", "--cov-context=test"]

    _, plain = _measure(suite, "pytest", options, [])
    _, isolated = _measure(suite, "pytest", options, ["--isolate"])

    assert isolated == plain


def test_workers_lose_nothing(suite: Suite) -> None:
    suite.write(FILES)
    suite.write({".coveragerc": "[run]\nsource = .\nomit = read.py\n"})
    options = ["--cov=.", "--cov-branch", "-k", "not subprocess"]

    # Compared with a run of one process: pytest-cov loses a plain worker's data now and then.
    alone = _measure(suite, "pytest", options, [])
    workers = _measure(suite, "pytest", ["-p", "xdist.plugin", "-n2", *options], ["--isolate"])

    assert workers == alone


def _measure(
    suite: Suite, program: str, options: list[str], isolate: list[str]
) -> tuple[object, int]:
    plugins = ["-p", "isolate", *isolate]
    environment = {**os.environ, "PYTHONPATH": str(suite.directory)}
    run = [sys.executable, "-m"]
    if program == "coverage":
        run += ["coverage", "run", *options, "-m", "pytest", "-p", "no:cacheprovider", *plugins]
    else:
        run += ["pytest", "-p", "pytest_cov.plugin", "-p", "no:cacheprovider", *options, *plugins]
    for old in suite.directory.glob(".coverage*"):
        if old.name != ".coveragerc":
            old.unlink()
    tested = subprocess.run(
        run, cwd=suite.directory, env=environment, capture_output=True, check=False
    )
    assert b"1 failed" in tested.stdout, tested.stdout.decode()
    if program == "coverage":
        # Programs that the test started have files of their own, without isolation.
        subprocess.run(
            [sys.executable, "-m", "coverage", "combine", "--append"],
            cwd=suite.directory,
            capture_output=True,
            check=False,
        )
    done = subprocess.run(
        [sys.executable, "read.py"], cwd=suite.directory, capture_output=True, check=True
    )
    counted = re.search(r" (\d+) warning", tested.stdout.decode().splitlines()[-1])
    return json.loads(done.stdout), int(counted[1]) if counted else 0
