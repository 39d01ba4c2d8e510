from __future__ import annotations

import logging
import os
import sys

import pytest


def test_streams():
    print("out")
    print("err", file=sys.stderr)
    os.write(1, b"raw out \xff\n")
    os.system("echo from a child >&2")  # noqa: S605  # a shell is a child as well
    assert 0


def test_capsys(capsys):
    print("taken")
    out = capsys.readouterr().out
    print("left")
    assert out == "other"


def test_capfd(capfd):
    os.write(1, b"taken")
    out = capfd.readouterr().out
    assert out == "other"


def test_disabled(capsys):
    with capsys.disabled():
        pass


def test_logs(caplog):
    logging.getLogger("some").warning("careful %d", 3)
    assert caplog.messages == []


def test_input():
    input()


@pytest.fixture
def talking():
    print("setup")
    logging.getLogger("some").error("in setup")
    yield
    print("teardown")


def test_phases(talking):
    print("call")
    assert 0
