from __future__ import annotations

import threading

import pytest


def test_pass():
    pass


def test_fail():
    assert [1, 2, 3] == [1, 2, 4]


def test_raise():
    raise KeyError("missing")


def test_fail_without_traceback():
    pytest.fail("said so", pytrace=False)


def test_chain():
    try:
        print(1 / 0)
    except ZeroDivisionError as error:
        raise ValueError("bad") from error


def test_system_exit():
    raise SystemExit(3)


def test_unpicklable():
    class LocalError(Exception):
        def __init__(self, a, b):
            self.lock = threading.Lock()

    raise LocalError(1, 2)


def test_group():
    raise ExceptionGroup("several", [ValueError("one"), ExceptionGroup("in", [OSError(2)])])


def test_megabytes():
    assert "a" * 3_000_000 == "b" * 3_000_000


def test_returns_something():
    return 3
