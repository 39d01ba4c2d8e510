"""Files of any name, in any locale: a name is bytes, whatever each process reads them as."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING
from typing import Final

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.needs("sandbox"), pytest.mark.any_python]

PATIENCE: Final = 100.0
#: What other encodings write otherwise, what is no UTF-8, what separates words and lines.
NAMES: Final = ("projét".encode(), b"\xe9\xff latin", b"two words\nand a line, with:\\all")
TESTS: Final = """
import os

def test_files(tmp_path):
    assert os.path.exists(__file__)
    (tmp_path / "written").write_text("here")
    with open("beside", "x") as file:
        file.write("there")
"""
#: What the environment says of the encoding, by what it makes of it.
LOCALES: Final = {
    "UTF-8": {"LC_ALL": "C.UTF-8"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "C in UTF-8 mode": {"LC_ALL": "C", "PYTHONUTF8": "1"},
    "Latin-1": {"LC_ALL": "de_DE.ISO-8859-1"},
    "Latin-1 in UTF-8 mode": {"LC_ALL": "de_DE.ISO-8859-1", "PYTHONUTF8": "1"},
}


@pytest.fixture(scope="module")
def locales(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a locale that is not of UTF-8."""
    place = tmp_path_factory.mktemp("locales")
    made = place / "de_DE.ISO-8859-1"
    command = ["localedef", "-i", "de_DE", "-f", "ISO-8859-1", str(made)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = f"needs localedef and the sources of locales: {error}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    return place


@pytest.fixture(params=LOCALES)
def environment(request: pytest.FixtureRequest, locales: Path) -> dict[str, str]:
    """Return an environment of each kind of locale."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LC_", "LANG", "PYTHONUTF8", "PYTHONCOERCE"))
    }
    return {**inherited, **LOCALES[request.param], "LOCPATH": str(locales)}


@pytest.fixture(params=NAMES, ids=["accent", "not UTF-8", "newline"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> bytes:
    """Return a directory of that name, below one that every sandbox covers."""
    place = os.path.join(os.fsencode(tmp_path), request.param)
    os.mkdir(place)
    return place


def outcome(command: list[str | bytes], place: bytes, environment: dict[str, str]) -> bytes:
    """Return what *command* printed in *place*; it must end well."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=place,
        env=environment,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout.decode(errors="backslashreplace")
    return done.stdout


def test_project_and_its_tests_have_any_name(place: bytes, environment: dict[str, str]) -> None:
    name = b"test_" + os.path.basename(place).replace(b" ", b"_").split(b"\n")[0] + b".py"
    with open(os.path.join(place, name), "w", encoding="ascii") as file:
        file.write(TESTS)

    # As plain pytest: its cache cannot be written for names that are no text.
    outcome(["pytest", "--isolate", "-p", "no:cacheprovider"], place, environment)

    assert not os.path.exists(os.path.join(place, b"beside"))


def test_writable_path_has_any_name(place: bytes, environment: dict[str, str]) -> None:
    through = os.path.join(place, b"through")
    os.mkdir(through)
    run: list[str | bytes] = ["pytest_isolate", "run", "--writable", through, "--"]

    outcome([*run, "touch", through + b"/new"], place, environment)

    assert os.listdir(through) == [b"new"]


def test_temporary_directory_has_any_name(place: bytes, environment: dict[str, str]) -> None:
    ask = "import os, tempfile; os.write(1, os.fsencode(tempfile.gettempdir()))"
    command: list[str | bytes] = ["pytest_isolate", "run", "--", sys.executable, "-c", ask]
    said = outcome(command, place, {**environment, "TMPDIR": os.fsdecode(place)})

    assert said == place
