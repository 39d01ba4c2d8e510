"""Releases of packages, made ready to run their own tests."""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tarfile
import tomllib
from typing import TYPE_CHECKING
from typing import Final
from typing import final

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE: Final = Path(__file__).parent
_PROJECT: Final = HERE.parent.parent
_DISTRIBUTION: Final = "pytest-hermetic"
_SECONDS: Final = 1800


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release whose source distribution has its tests: a table of suites.toml."""

    name: str
    version: str
    sha256: str
    args: tuple[str, ...]
    deselect: Mapping[str, str]  #: reasons, by the test that fails without isolation too
    differs: Mapping[str, str]  #: reasons, by the test that must end differently in isolation
    seconds: int  #: that a run may take
    quick: bool


def releases() -> dict[str, Release]:
    """Return all releases, by name."""
    tables = tomllib.loads((HERE / "suites.toml").read_text(encoding="utf-8"))
    return {
        name: Release(
            name=name,
            version=table["version"],
            sha256=table["sha256"],
            args=tuple(table.get("args", ())),
            deselect=table.get("deselect", {}),
            differs=table.get("differs", {}),
            seconds=table.get("seconds", _SECONDS),
            quick=table.get("quick", False),
        )
        for name, table in tables.items()
    }


@final
class Workshop:
    """A directory with source trees and virtual environments, which later runs find again."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._wheel: Path | None = None

    def tree(self, release: Release) -> Path:
        """Return the unpacked source distribution of *release*."""
        tree = self.place / f"{release.name}-{release.version}"
        if not tree.exists():
            downloads = self.place / "downloads"
            what = f"{release.name}=={release.version}"
            _pip(
                "download", "--no-deps", f"--no-binary={release.name}", f"--dest={downloads}", what
            )
            stem = release.name.replace("-", "_")
            (archive,) = downloads.glob(f"{stem}-{release.version}.tar.gz")
            digest = hashlib.sha256(archive.read_bytes()).hexdigest()
            if digest != release.sha256:
                msg = f"{archive}: its SHA-256 is {digest}, and suites.toml says {release.sha256}"
                raise SystemExit(msg)
            unpacked = self.place / f"{release.name}.unpacked"
            shutil.rmtree(unpacked, ignore_errors=True)
            with tarfile.open(archive) as tar:
                tar.extractall(unpacked, filter="data")
            (top,) = unpacked.iterdir()
            top.rename(tree)
            unpacked.rmdir()
        return tree

    def python(self, name: str, *, isolated: bool) -> Path:
        """Return the interpreter that has what the lock of *name* says, with the plugin or without.

        It is the same for both: its path is in messages.
        """
        venv = self.place / f"{name}.venv"
        python = venv / "bin" / "python"
        file = HERE / "locks" / f"{name}.txt"
        lock = file.read_text(encoding="utf-8")
        stamp = venv / "installed"
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != lock + sys.version:
            command = [sys.executable, "-m", "venv", "--clear", "--without-pip", os.fspath(venv)]
            subprocess.run(command, check=True)
            _pip(f"--python={python}", "install", "--no-deps", f"--requirement={file}")
            stamp.write_text(lock + sys.version, encoding="utf-8")
        _pip(f"--python={python}", "uninstall", "--yes", _DISTRIBUTION)
        if isolated:
            _pip(f"--python={python}", "install", "--no-deps", os.fspath(self._plugin()))
        return python

    def _plugin(self) -> Path:
        """Return the wheel of this tree, made once."""
        if self._wheel is None:
            wheels = self.place / "wheels"
            shutil.rmtree(wheels, ignore_errors=True)
            _pip("wheel", "--no-deps", f"--wheel-dir={wheels}", os.fspath(_PROJECT))
            (self._wheel,) = wheels.glob("*.whl")
        return self._wheel


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)
