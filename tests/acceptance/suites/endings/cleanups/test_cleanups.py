from __future__ import annotations

import pytest


@pytest.fixture
def cleaning(request, tmp_path):
    add = request.config.add_cleanup
    add(lambda: print((tmp_path / "order").read_text()))
    for word in ("last", "first"):
        add(lambda word=word: (tmp_path / "order").open("a").write(word))


def test_cleans_up(cleaning, tmp_path):
    (tmp_path / "order").write_text("")


def test_next():
    pass


def test_fails_to(request):
    def clean():
        raise OSError("cannot clean up")

    request.config.add_cleanup(lambda: print("still called"))
    request.config.add_cleanup(clean)
