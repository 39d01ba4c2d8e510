"""Beside a plugin that claims our names pytest stops with one line, whoever was installed last."""

from __future__ import annotations

from importlib import metadata
import os
from pathlib import Path
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING
from typing import Final

import pytest

import pytest_isolate

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    Run = Callable[..., pytest.RunResult]

PACKAGE: Final = Path(pytest_isolate.__file__).parent
#: The guard comes first: what both packages call plugin.py may be the other's.
OURS: Final = (
    "hermetic-guard = pytest_isolate.conflicts",
    "isolate = pytest_isolate.plugin",
)
ISOLATE: Final = "ERROR: pytest-isolate 9.9 is installed and cannot be used together with pytest-"
ISOLATED: Final = "ERROR: pytest-isolated 9.9 is installed and cannot be used together with pytest-"
PLUGIN: Final = """
def pytest_addoption(parser):
    parser.addoption("--isolate", action="store_true")
    parser.addoption("--isolated", action="store_true")
"""


def distribution(site: Path, name: str, *entry_points: str, version: str = "9.9") -> None:
    """Install the metadata of a distribution of plugins into *site*."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
    )
    lines = "\n".join(("[pytest11]", *entry_points, ""))
    (info / "entry_points.txt").write_text(lines, encoding="utf-8")


def package(site: Path, name: str) -> None:
    """Install a rival's package into *site*, over ours if it has the same name."""
    (site / name).mkdir(parents=True, exist_ok=True)
    (site / name / "__init__.py").write_text("", encoding="utf-8")
    (site / name / "plugin.py").write_text(PLUGIN, encoding="utf-8")


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """Return a site directory with this plugin alone."""
    site = tmp_path / "ours"
    shutil.copytree(PACKAGE, site / "pytest_isolate")
    (site / "pytest_isolate" / "plugin.py").write_text(
        "from pytest_isolate import conflicts, options\n"
        "def pytest_addoption(parser, pluginmanager):\n"
        "    conflicts.refuse(pluginmanager)\n"
        "    options.register(parser)\n",
        encoding="utf-8",
    )
    distribution(site, "pytest-hermetic", *OURS)
    return site


@pytest.fixture
def run(pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs pytest in an environment of nothing but it and *sites*."""
    pytester.makepyfile("def test_it(): pass")
    base = tmp_path / "base"
    base.mkdir()
    for name in ("iniconfig", "packaging", "pluggy", "pygments", "pytest"):
        found = metadata.distribution(name)
        for top in {path.parts[0] for path in found.files or ()} - {".."}:
            (base / top).symlink_to(str(found.locate_file(top)))

    def run(sites: Sequence[Path], *args: str) -> pytest.RunResult:
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(os.fspath, (*sites, base))))
        return pytester.run(sys.executable, "-S", "-m", "pytest", "-p", "no:cacheprovider", *args)

    return run


def assert_refused(result: pytest.RunResult, line: str) -> None:
    (error,) = (text for text in result.errlines if text)
    assert error.startswith(line)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.outlines == []


def test_alone_the_plugin_runs(run: Run, ours: Path) -> None:
    result = run([ours], "--isolate")

    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "theirs first"])
def test_pytest_isolated_is_refused(
    run: Run, ours: Path, tmp_path: Path, *, ours_first: bool
) -> None:
    theirs = tmp_path / "theirs"
    package(theirs, "pytest_isolated")
    distribution(theirs, "pytest-isolated", "isolated = pytest_isolated.plugin")
    sites = [ours, theirs]

    result = run(sites if ours_first else sites[::-1])

    assert_refused(result, ISOLATED)
    assert result.errlines[0].endswith("; run: pip uninstall pytest-isolated")


@pytest.mark.parametrize("theirs_on_top", [True, False], ids=["their files", "our files"])
@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "theirs first"])
def test_pytest_isolate_is_refused_whoever_owns_the_files(
    run: Run, ours: Path, tmp_path: Path, *, theirs_on_top: bool, ours_first: bool
) -> None:
    if theirs_on_top:
        package(ours, "pytest_isolate")
    theirs = tmp_path / "theirs"
    distribution(theirs, "pytest-isolate", "pytest_isolate = pytest_isolate.plugin")
    sites = [ours, theirs]

    result = run(sites if ours_first else sites[::-1])

    assert_refused(result, ISOLATE)
    assert "pip uninstall -y pytest-isolate pytest-hermetic && pip inst" in result.errlines[0]


def test_files_that_left_with_pytest_isolate_are_missed(run: Run, ours: Path) -> None:
    for name in ("__init__.py", "plugin.py"):
        (ours / "pytest_isolate" / name).unlink()

    result = run([ours])

    assert_refused(result, "ERROR: pytest-hermetic is damaged: pytest_isolate/plugin.py is missing")


def test_rival_runs_where_this_plugin_is_blocked(run: Run, ours: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    package(theirs, "pytest_isolated")
    distribution(theirs, "pytest-isolated", "isolated = pytest_isolated.plugin")

    result = run([ours, theirs], "-p", "no:isolate", "--isolated")

    assert result.ret == pytest.ExitCode.OK
    result.assert_outcomes(passed=1)


def test_rival_without_a_version_is_refused_too(run: Run, ours: Path) -> None:
    info = ours / "pytest_isolated.egg-info"
    info.mkdir()
    (info / "PKG-INFO").write_text("Name: pytest-isolated\n", encoding="utf-8")

    assert_refused(run([ours]), "ERROR: pytest-isolated is installed and cannot be used together ")


@pytest.mark.parametrize("name", ["pytest-isolate", "pytest-isolated"])
def test_real_rival_is_refused_installed_before_or_after(
    run: Run, ours: Path, tmp_path: Path, name: str
) -> None:
    theirs = tmp_path / "theirs"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # Neither its own pytest, and of pytest-isolate's dependencies what it is imported with.
    what = ["--no-deps", name, "filelock"]
    install = [*pip, "install", "--retries=0", "--target", os.fspath(theirs), *what]
    if subprocess.run(install, check=False, capture_output=True).returncode != 0:
        pytest.skip(f"pip does not get {name} here")

    before, after = tmp_path / "before", tmp_path / "after"
    for site, packages in ((before, (theirs, ours)), (after, (ours, theirs))):
        for one in packages:
            shutil.copytree(one, site, dirs_exist_ok=True)

    assert_refused(run([before]), f"ERROR: {name} ")
    assert_refused(run([after]), f"ERROR: {name} ")
