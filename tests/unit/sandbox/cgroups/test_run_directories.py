"""A run directory has one owner, whatever a sweeper does meanwhile. Plain directories do here."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from pytest_isolate.sandbox.cgroups import run_directories


def test_run_directory_has_one_owner(tmp_path: Path) -> None:
    run = run_directories.create(str(tmp_path))

    assert run_directories.lock(run.path) is None
    run.unlock()
    again = run_directories.lock(run.path)
    assert again is not None
    again.unlock()


def test_sweep_takes_dead_runs_and_leaves_living_ones(tmp_path: Path) -> None:
    mine, other, dead = (run_directories.create(str(tmp_path)) for _ in range(3))
    dead.unlock()

    assert run_directories.sweep(str(tmp_path), mine.path) == [other.path]

    assert set(run_directories.find(str(tmp_path))) == {mine.path, other.path}
    mine.unlock()
    other.unlock()


def test_sweep_leaves_directories_of_others(tmp_path: Path) -> None:
    (tmp_path / "somebody.else").mkdir()

    assert run_directories.sweep(str(tmp_path), "") == []
    assert (tmp_path / "somebody.else").exists()


def test_directory_swept_before_it_was_locked_is_given_up_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[Path] = []
    flock = fcntl.flock

    def sweep_first(fd: int, operation: int) -> None:
        if len(swept) < 3:
            (path,) = tmp_path.iterdir()
            path.rmdir()
            swept.append(path)
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    run = run_directories.create(str(tmp_path))

    assert len(swept) == 3
    assert os.path.samestat(os.fstat(run.fd), Path(run.path).stat())
    run.unlock()


def test_directory_that_a_sweeper_holds_is_given_up_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    held: list[int] = []

    def held_first(fd: int, operation: int) -> None:
        if not held:
            (path,) = tmp_path.iterdir()
            held.append(os.open(path, os.O_RDONLY))
            flock(held[0], operation)
        flock(fd, operation)

    monkeypatch.setattr(fcntl, "flock", held_first)
    run = run_directories.create(str(tmp_path))

    assert len(run_directories.find(str(tmp_path))) == 2
    os.close(held[0])
    run.unlock()


def test_directory_that_is_always_swept_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sweep_first(fd: int, operation: int) -> None:
        del fd, operation
        (path,) = tmp_path.iterdir()
        path.rmdir()

    monkeypatch.setattr(fcntl, "flock", sweep_first)

    with pytest.raises(OSError, match="swept away"):
        run_directories.create(str(tmp_path))


def test_base_that_another_run_holds_is_an_error_after_a_while(tmp_path: Path) -> None:
    held = run_directories.lock_base(str(tmp_path), 0.0)

    with pytest.raises(OSError, match="another run holds it"):
        run_directories.lock_base(str(tmp_path), 0.02)

    os.close(held)
    os.close(run_directories.lock_base(str(tmp_path), 0.0))


@pytest.mark.parametrize(
    ("group", "base"),
    [
        ("/cg/user/app.scope", "/cg/user/app.scope"),
        ("/cg/app.scope/pytest-isolate.12ab/main", "/cg/app.scope"),
        ("/cg/app.scope/pytest-isolate.12ab/sandbox", "/cg/app.scope/pytest-isolate.12ab/sandbox"),
        ("/cg/app.scope/main", "/cg/app.scope/main"),
    ],
)
def test_run_beside_another_is_made_where_the_other_is(group: str, base: str) -> None:
    assert run_directories.base_of(group) == base
