"""The project around the code holds together: links, news fragments, metadata, the wheel."""

from __future__ import annotations

import configparser
from importlib import metadata
import os
from pathlib import Path
import re
import tomllib
from typing import Any
from typing import Final

import pytest

import pytest_isolate

ROOT: Final = Path(__file__).resolve().parents[2]
DISTRIBUTION: Final = "pytest-hermetic"
DOCUMENTS: Final = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "changelog.d/README.md", "examples/**/*.md")
    for path in ROOT.glob(pattern)
    if "_build" not in path.parts
)

_FENCED: Final = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`[^`\n]*`")
_LINK: Final = re.compile(r"\]\((?![a-z]+:)([^)#\s]+)")
_FRAGMENT: Final = re.compile(r"(\d+|\+[a-z0-9-]+)\.(feature|bugfix|removal|doc|misc)\.md")


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def installed() -> metadata.Distribution:
    """Return the distribution as its wheel installed it."""
    found = next(iter(metadata.distributions(name=DISTRIBUTION)), None)
    if found is None or "pytest_isolate/__init__.py" not in map(str, found.files or ()):
        reason = f"{DISTRIBUTION} is not installed from its wheel, as tox does it"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return found


@pytest.mark.parametrize(
    "document", [pytest.param(path, id=os.fspath(path.relative_to(ROOT))) for path in DOCUMENTS]
)
def test_every_link_of_a_document_leads_to_a_file(document: Path) -> None:
    prose = _CODE.sub("", _FENCED.sub("", document.read_text(encoding="utf-8")))

    dead = [link for link in _LINK.findall(prose) if not (document.parent / link).exists()]

    assert dead == []


def test_every_news_fragment_has_a_name_that_towncrier_reads() -> None:
    names = {path.name for path in (ROOT / "changelog.d").iterdir()} - {"README.md"}

    assert {name for name in names if not _FRAGMENT.fullmatch(name)} == set()


def test_every_news_fragment_ends_its_sentence() -> None:
    fragments = (ROOT / "changelog.d").glob("*.*.md")

    assert [
        path.name
        for path in fragments
        if not path.read_text(encoding="utf-8").rstrip().endswith((".", "!"))
    ] == []


def test_readme_has_exactly_the_two_commands_that_ci_runs() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    first, second = re.findall(r"^```bash\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)

    assert "pytest --isolate examples/container_from_scratch" in first
    assert second.endswith("tox\n")


def test_pytest_8_is_configured_as_pytest_9_is(pyproject: dict[str, Any]) -> None:
    old = configparser.ConfigParser()
    old.read(ROOT / "tests" / "pytest84.ini", encoding="utf-8")
    new = pyproject["tool"]["pytest"]
    strict = ["--strict-config", "--strict-markers"]

    assert old["pytest"]["addopts"].split() == [*new["addopts"], *strict]
    assert old["pytest"]["filterwarnings"].splitlines() == new["filterwarnings"]


def test_ci_runs_every_python_that_is_promised(pyproject: dict[str, Any]) -> None:
    promised = [
        match[1]
        for line in pyproject["project"]["classifiers"]
        if (match := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))
    ]

    assert f"for version in {' '.join(promised)};" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_installed_version_is_the_one_of_pyproject(
    pyproject: dict[str, Any], installed: metadata.Distribution
) -> None:
    assert installed.version == pyproject["project"]["version"]


def test_installed_plugin_is_found_by_pytest(installed: metadata.Distribution) -> None:
    plugins = [(e.name, e.value) for e in installed.entry_points.select(group="pytest11")]

    # In this order: the guard must speak before another's plugin in our place does.
    assert plugins == [
        ("hermetic-guard", "pytest_isolate.conflicts"),
        ("isolate", "pytest_isolate.plugin"),
    ]


@pytest.mark.parametrize("file", ["py.typed", "_rootfs/README.md"])
def test_wheel_ships(file: str, installed: metadata.Distribution) -> None:
    assert f"pytest_isolate/{file}" in map(str, installed.files or ())


def test_wheel_ships_the_package_alone(installed: metadata.Distribution) -> None:
    tops = {path.parts[0] for path in installed.files or ()}

    assert tops == {"pytest_isolate", f"pytest_hermetic-{installed.version}.dist-info"}


def test_public_names_are_those_of_the_reference_and_can_be_imported() -> None:
    page = (ROOT / "docs/reference/api.md").read_text(encoding="utf-8")
    documented = re.findall(r"auto(?:class|exception):: (?:pytest_isolate\.)?(\w+)", page)

    assert set(pytest_isolate.__all__) == {*documented, "Outcome"}
    assert [name for name in pytest_isolate.__all__ if not hasattr(pytest_isolate, name)] == []
