"""The backends tolerate exactly what a kernel may lack. The groups here are plain directories."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pytest_isolate.sandbox.cgroups.backend import wanted
from pytest_isolate.sandbox.cgroups.locate import Place
from pytest_isolate.sandbox.cgroups.locate import Version
from pytest_isolate.sandbox.cgroups.v1 import LegacyBackend
from pytest_isolate.sandbox.cgroups.v2 import UnifiedBackend
from pytest_isolate.sandbox.spec import Limits

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_isolate.sandbox.cgroups.backend import Backend

LIMITS = Limits(memory=100 << 20)


def backend(version: Version, path: Path) -> Backend:
    place = Place(version=version, path=str(path))
    match version:
        case Version.V1:
            return LegacyBackend(place, ("memory",))
        case Version.V2:
            return UnifiedBackend(place, ("memory",), os.getpid())


def group(path: Path, *files: str) -> str:
    for name in files:
        (path / name).touch()
    return str(path)


def test_v1_memory_cap_includes_swap(tmp_path: Path) -> None:
    made = group(tmp_path, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")

    lacks = backend(Version.V1, tmp_path).cap(made, "memory", LIMITS)

    assert lacks == ""
    assert (tmp_path / "memory.limit_in_bytes").read_text() == str(100 << 20)
    assert 0 < int((tmp_path / "memory.memsw.limit_in_bytes").read_text()) - (100 << 20) < 8 << 20


def test_v1_without_swap_accounting_says_so(tmp_path: Path) -> None:
    made = group(tmp_path, "memory.limit_in_bytes", "memory.swappiness")

    lacks = backend(Version.V1, tmp_path).cap(made, "memory", LIMITS)

    assert lacks == "swap not capped"
    assert (tmp_path / "memory.swappiness").read_text() == "0"


def test_v2_without_swap_accounting_says_so(tmp_path: Path) -> None:
    made = group(tmp_path, "memory.max")

    lacks = backend(Version.V2, tmp_path).cap(made, "memory", LIMITS)

    assert lacks == "swap not capped"
    assert (tmp_path / "memory.max").read_text() == str(100 << 20)


@pytest.mark.parametrize("version", Version)
def test_missing_cap_file_is_an_error_that_names_it(version: Version, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"memory\.(max|limit_in_bytes)'$"):
        backend(version, tmp_path).cap(group(tmp_path), "memory", LIMITS)


def test_backend_that_was_not_opened_closes_without_error(tmp_path: Path) -> None:
    for version in Version:
        backend(version, tmp_path).close()


def test_only_caps_that_are_asked_for_are_wanted() -> None:
    assert wanted(Limits()) == {}
    assert wanted(Limits(memory=1, cpus=0.5)) == {"memory": 1, "cpu": 0.5}
