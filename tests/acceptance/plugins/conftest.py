"""Suites that use one other plugin each, run without and with isolation.

Only what a test names is loaded: some of them do not get on with each other.
"""

from __future__ import annotations

from importlib import metadata
import os
from pathlib import Path
import shutil
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import Run
    from tests.acceptance.conftest import Suite

    Counted = Callable[..., tuple[Run, Run]]

_COUNTED: Final = """
import os, pathlib

def counted(name):
    path = pathlib.Path(os.environ["COUNTS"], name)
    path.write_text(path.read_text() + "." if path.exists() else ".")
    return len(path.read_text())
"""
#: The distributions that each module here needs besides pytest.
_NEEDED: Final = {
    "test_allure.py": "allure-pytest",
    "test_anyio.py": "anyio",
    "test_asyncio.py": "pytest-asyncio",
    "test_bdd.py": "pytest-bdd",
    "test_benchmark.py": "pytest-benchmark",
    "test_cov.py": "pytest-cov",
    "test_debugpy.py": "debugpy",
    "test_dependency.py": "pytest-dependency",
    "test_django.py": "pytest-django",
    "test_flaky.py": "flaky",
    "test_flask.py": "flask",
    "test_html.py": "pytest-html",
    "test_hypothesis.py": "hypothesis",
    "test_ides.py": "",
    "test_inline_snapshot.py": "inline-snapshot",
    "test_memray.py": "pytest-memray",
    "test_mock.py": "pytest-mock",
    "test_mpl.py": "pytest-mpl",
    "test_mypy.py": "pytest-mypy",
    "test_notices.py": (
        "pytest-codspeed pytest-monitor pytest-profiling pytest-recording pytest-snapshot"
    ),
    "test_opentelemetry.py": "pytest-opentelemetry",
    "test_pycharm.py": "pydevd-pycharm",
    "test_randomly.py": "pytest-randomly",
    "test_regressions.py": "pytest-regressions",
    "test_reporters.py": (
        "pytest-check pytest-durations pytest-instafail pytest-json-report pytest-metadata"
        " pytest-sugar"
    ),
    "test_reportlog.py": "pytest-reportlog",
    "test_rerunfailures.py": "pytest-rerunfailures",
    "test_retry.py": "pytest-retry",
    "test_rich.py": "pytest-rich",
    "test_ruff.py": "pytest-ruff",
    "test_steps.py": "pytest-steps",
    "test_syrupy.py": "syrupy",
    "test_teamcity.py": "teamcity-messages",
    "test_testmon.py": "pytest-testmon",
    "test_timeout.py": "pytest-timeout",
    "test_xdist.py": "pytest-xdist",
    "test_xprocess.py": "pytest-xprocess",
}


def _is_missing(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return True
    return False


# In the environment that is there for them, what is missing is a failure.
collect_ignore = [
    name
    for name, distributions in _NEEDED.items()
    if any(map(_is_missing, distributions.split())) and "ISOLATE_TEST_PLUGINS" not in os.environ
]


def test_every_module_is_known() -> None:
    modules = {path.name for path in Path(__file__).parent.glob("test_*.py")}

    assert modules == set(_NEEDED)


@pytest.fixture(autouse=True)
def _no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture
def counted(suite: Suite) -> Counted:
    """Return what runs a suite plain and isolated; `counted.counted(name)` counts runs.

    The counts are in files, which outlive the sandboxes.
    """
    suite.write({"counted.py": _COUNTED})

    def run(*arguments: str) -> tuple[Run, Run]:
        runs = []
        counts = suite.directory.parent / "counts"
        for isolate in ([], ["--isolate", f"--isolate-writable={counts}"]):
            shutil.rmtree(counts, ignore_errors=True)
            counts.mkdir()
            runs.append(suite.run(*isolate, *arguments, COUNTS=str(counts)))
        return runs[0], runs[1]

    return run
