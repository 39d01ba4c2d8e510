from __future__ import annotations

import os

import pytest


def test_tmp_path(tmp_path):
    (tmp_path / "file").write_text("x")
    print(tmp_path.name, os.listdir(tmp_path.parent))


def test_tmp_path_factory(tmp_path_factory):
    print(tmp_path_factory.mktemp("made").name)


@pytest.mark.parametrize("x", range(3))
def test_numbered(x, tmp_path):
    print(tmp_path.name)


def test_monkeypatch(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_VARIABLE", "1")
    print(os.path.basename(os.getcwd()), os.environ["PYTEST_CURRENT_TEST"])


def test_cache(cache):
    cache.set("some/value", [1])
    assert cache.get("some/value", 0) == 0
