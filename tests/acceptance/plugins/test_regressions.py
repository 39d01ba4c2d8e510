"""pytest-regressions' files are compared alike, and reach the tree where it is writable."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

PLUGINS = ("-p", "pytest_datadir.plugin", "-p", "pytest_regressions.plugin")
SUITE = """
    import os

    NUMBER = int(os.environ.get("NUMBER", "1"))
    def test_data(data_regression): data_regression.check({"a": NUMBER, "b": [2]})
    def test_file(file_regression): file_regression.check("text")
"""


def test_files_are_written_and_compared(suite: Suite) -> None:
    files = suite.directory / "test_a"
    told = []
    for arguments in ([], ["--isolate", "--isolate-writable=test_a"]):
        suite.write({"a": SUITE})
        files.mkdir(exist_ok=True)
        for old in files.iterdir():
            old.unlink()
        first = suite.run(*PLUGINS, *arguments)
        texts = {path.name: path.read_text("utf-8") for path in files.iterdir()}
        second = suite.run(*PLUGINS, *arguments)
        other = suite.run(*PLUGINS, *arguments, NUMBER="2")
        told.append((first, texts, second, other))

    assert told[1] == told[0]
    _, texts, second, other = told[1]
    assert set(texts) == {"test_data.yml", "test_file.txt"}
    assert (second.status, other.status) == (0, 1)
