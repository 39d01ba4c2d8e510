from __future__ import annotations

import pytest


@pytest.mark.xfail
def test_bare():
    assert 0


@pytest.mark.xfail(reason="known")
def test_reason():
    assert 0


@pytest.mark.xfail
def test_xpass():
    pass


@pytest.mark.xfail(strict=True, reason="fixed?")
def test_strict_xpass():
    pass


@pytest.mark.xfail(condition=False, reason="not here")
def test_condition():
    assert 0


@pytest.mark.xfail(raises=ValueError)
def test_other_exception():
    raise KeyError


@pytest.mark.xfail(run=False)
def test_not_run():
    raise SystemExit(9)


def test_imperative():
    pytest.xfail("now")


def test_dynamic(request):
    request.applymarker(pytest.mark.xfail(reason="added"))
    assert 0


@pytest.fixture
def failing():
    assert 0


@pytest.mark.xfail
def test_setup(failing):
    pass
