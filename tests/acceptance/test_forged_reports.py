"""A test that writes reports itself fails for it, and ends neither the session nor another test."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


def test_forged_reports_fail_who_writes_them(suite: Suite) -> None:
    suite.copy("forged_reports", "wire")

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
