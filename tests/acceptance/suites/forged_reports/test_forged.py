from __future__ import annotations

import json

import pytest
from wire import say


def forge(request, **changes):
    node = request.node
    data = {
        "nodeid": node.nodeid,
        "location": list(node.location),
        "keywords": {},
        "when": "call",
        "outcome": "passed",
        "longrepr": None,
        "sections": [],
        "duration": 0.1,
        "start": 1.0,
        "stop": 2.0,
        "user_properties": [],
        "$report_type": "TestReport",
        **changes,
    }
    body = json.dumps(["Report", {"data": data}]).encode()
    say(b"\x01" + len(body).to_bytes(4, "big") + body)


@pytest.mark.parametrize("name", ["test_other", "no test at all"])
def test_name(request, name):
    forge(request, nodeid=request.node.nodeid.replace(request.node.name, name))
    if name == "test_other":
        assert 0


@pytest.mark.parametrize(
    "change",
    [
        {"duration": "long"},
        {"location": [1, 2]},
        {"keywords": 1},
        {"sections": [[1]]},
        {"outcome": []},
        {"when": {}},
        {"longrepr": {"reprcrash": None}},
        {"stop": "x"},
        {"user_properties": [1]},
        {"location": ["a", "b", "c"]},
        {"longrepr": [1, 2, 3]},
    ],
    ids=str,
)
def test_change(request, change):
    forge(request, **change)


def test_other():
    assert 0
