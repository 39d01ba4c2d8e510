"""A test that writes reports itself fails for it, and ends neither the session nor another test."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

FORGERS = """
    import json, os, pytest, stat

    def pipes():
        for fd in map(int, os.listdir("/proc/self/fd")):
            try:
                is_pipe = fd > 2 and stat.S_ISFIFO(os.fstat(fd).st_mode)
            except OSError:
                continue
            flags = int(open(f"/proc/self/fdinfo/{fd}").read().split()[3], 8)
            if is_pipe and flags & os.O_ACCMODE == os.O_WRONLY:
                yield fd
    def forge(request, **changes):
        node = request.node
        data = {
            "nodeid": node.nodeid, "location": list(node.location), "keywords": {}, "when": "call",
            "outcome": "passed", "longrepr": None, "sections": [], "duration": 0.1, "start": 1.0,
            "stop": 2.0, "user_properties": [], "$report_type": "TestReport", **changes,
        }
        body = json.dumps(["Report", {"data": data}]).encode()
        for fd in pipes(): os.write(fd, b"\\x01" + len(body).to_bytes(4, "big") + body)

    @pytest.mark.parametrize("name", ["test_other", "no test at all"])
    def test_name(request, name):
        forge(request, nodeid=request.node.nodeid.replace(request.node.name, name))
        if name == "test_other": assert 0
    @pytest.mark.parametrize("change", [
        {"duration": "long"}, {"location": [1, 2]}, {"keywords": 1}, {"sections": [[1]]},
        {"outcome": []}, {"when": {}}, {"longrepr": {"reprcrash": None}}, {"stop": "x"},
        {"user_properties": [1]}, {"location": ["a", "b", "c"]}, {"longrepr": [1, 2, 3]},
    ], ids=str)
    def test_change(request, change): forge(request, **change)
    def test_other(): assert 0
"""


def test_forged_reports_fail_who_writes_them(suite: Suite) -> None:
    suite.write({"forged": FORGERS})

    run = suite.run("--isolate", "-ra", "--durations=5")

    assert run.status == 1
    assert "INTERNALERROR" not in run.output
    assert run.outcomes("test_other") == {"setup": "passed", "call": "failed", "teardown": "passed"}
    assert "assert 0" in run.reports("test_other")["call"]["text"]
    starts = [event["nodeid"] for event in run.events if event["hook"] == "start"]
    changed = [one.partition("::")[2] for one in starts if "test_change[" in one]
    assert len(changed) == 11
    for name in ("test_name[test_other]", *changed):
        texts = [one["text"] for one in run.reports(name).values() if one["outcome"] == "failed"]
        assert any("read what the test process sent: a report" in text for text in texts), name
