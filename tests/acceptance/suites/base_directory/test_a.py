from __future__ import annotations

import os
import shutil

import pytest

isolated = pytest.mark.isolated


@pytest.fixture(scope="session")
def live(tmp_path_factory):
    path = tmp_path_factory.mktemp("live")
    (path / "file").write_text("live")
    return path


@isolated
def test_before(tmp_path):
    (tmp_path / "file").write_text("before")


def test_outside(live, tmp_path, tmp_path_factory):
    (tmp_path_factory.getbasetemp() / "note").write_text("note")
    (tmp_path / "file").write_text("outside")


@isolated
@pytest.mark.parametrize("n", [1, 2])
def test_inside(live, tmp_path, tmp_path_factory, n):
    base = tmp_path_factory.getbasetemp()
    assert (base / "note").read_text() == "note"
    assert (live / "file").read_text() == "live"
    assert (base / "test_outside0" / "file").read_text() == "outside"
    assert (base / "test_before0" / "file").read_text() == "before"
    assert not any(name.startswith(".") for name in os.listdir(base))
    assert tmp_path_factory.mktemp("live").name == f"live{n}"
    shutil.rmtree(live)
    (base / "note").rename(tmp_path / "note")
    (base / "own").touch(exist_ok=False)


def test_later(live, tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    assert (live / "file").read_text() == "live"
    assert (base / "note").read_text() == "note"
    assert not (base / "own").exists()
    assert tmp_path_factory.mktemp("live").name == "live3"
    (base / "late").touch()


@isolated
def test_late(tmp_path_factory):
    assert (tmp_path_factory.getbasetemp() / "late").exists()
