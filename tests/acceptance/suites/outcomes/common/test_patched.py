from __future__ import annotations

import builtins
import io
import json
import os
import time

import pytest

CALLS = {
    os: ["write", "read", "fstat", "getpid", "pread", "fork", "_exit", "pipe", "kill"],
    time: ["time", "monotonic", "perf_counter"],
    json: ["dumps", "loads", "JSONEncoder", "JSONDecoder"],
    builtins: ["open", "print"],
    io: ["open", "BytesIO", "StringIO"],
}


def refuse(*_, **__):
    raise OSError("patched")


@pytest.fixture(params=CALLS, ids=lambda module: module.__name__)
def patched(request, monkeypatch):
    for name in CALLS[request.param]:
        monkeypatch.setattr(request.param, name, refuse)
    yield


def test_patched(patched):
    pass


def test_patched_and_failed(patched):
    raise ValueError(1)


def test_time_stands_still(monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 1.0)
    monkeypatch.setattr(time, "time", lambda: 1.0)
