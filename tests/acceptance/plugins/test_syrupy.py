"""syrupy's snapshots reach the tree through `writable`, and its sums are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite


SUITE = """
    import pytest

    @pytest.mark.parametrize("number", range(3))
    def test_equal(snapshot, number): assert {"a": number} == snapshot
    def test_two(snapshot):
        assert "first" == snapshot
        assert "second" == snapshot(name="named")
"""


def test_snapshots_are_written(suite: Suite) -> None:
    suite.write({"a": SUITE})
    path = suite.directory / "__snapshots__" / "test_a.ambr"
    texts = []
    for arguments in ([], ["--isolate", "--isolate-writable=__snapshots__"]):
        path.unlink(missing_ok=True)
        path.parent.mkdir(exist_ok=True)
        run = suite.run(*arguments, "-p", "syrupy", "--snapshot-update")
        assert "5 snapshots generated." in run.output
        texts.append(path.read_text("utf-8"))

    assert texts[1] == texts[0]


@pytest.mark.parametrize(
    "arguments", ["-rA", "--snapshot-details", "--snapshot-update --isolate-writable=."]
)
def test_sums_are_the_same(arguments: str, suite: Suite) -> None:
    suite.write({"a": SUITE})
    suite.run("-p", "syrupy", "--snapshot-update")
    path = suite.directory / "__snapshots__" / "test_a.ambr"
    before = (
        path.read_text("utf-8").replace("second", "other") + "# name: test_unused\n  'x'\n# ---\n"
    )
    runs = []
    for isolate in ([], ["--isolate"]):
        path.write_text(before, encoding="utf-8")
        run = suite.run(*isolate, "-p", "syrupy", *arguments.split())
        runs.append((run, path.read_text("utf-8")))

    assert runs[1] == runs[0]
