"""What VS Code does to run a test: a plugin that answers it from hooks of reporters, over a pipe.

The plugin here is a stand-in with the same hooks in the same order; what PyCharm does, which has
teamcity-messages' code, is in `test_teamcity`.
"""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING
from typing import Any
from typing import Final

if TYPE_CHECKING:
    from tests.acceptance.conftest import Suite

_PATIENCE_SECONDS: Final = 30.0


def told(suite: Suite, *arguments: str) -> list[Any]:
    """Return what the IDE hears of a run with *arguments*."""
    path = suite.directory.parent / "pipe"
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    heard: list[Any] = []

    def listen() -> None:
        with open(path, encoding="utf-8") as pipe:
            heard.extend(json.loads(line) for line in pipe)

    thread = threading.Thread(target=listen)
    thread.start()
    suite.run("-p", "ide", *arguments, TEST_RUN_PIPE=str(path))
    if thread.is_alive():  # nobody has written to it
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
    thread.join(_PATIENCE_SECONDS)
    return heard


def test_ide_hears_of_each_test_once(suite: Suite) -> None:
    suite.copy("plugins/ides/plugin", "plugins/ides/tests")

    plain, isolated = told(suite), told(suite, "--isolate")

    assert isolated == plain
    assert len(plain) == 9


def test_ide_hears_of_a_test_that_is_run_alone(suite: Suite) -> None:
    suite.copy("plugins/ides/plugin", "plugins/ides/tests")
    outcomes = {"test_fails": "failure", "test_error": "error", "test_late": "success"}
    for name, outcome in outcomes.items():
        run = told(suite, "--isolate", f"--rootdir={suite.directory}", f"test_a.py::{name}")

        assert [one[1] for one in run] == [outcome]


def test_ide_hears_of_a_death(suite: Suite) -> None:
    suite.copy("plugins/ides/plugin")
    suite.write({"a": "import os\ndef test_dies(): os.abort()\n"})

    ((path, outcome, text),) = told(suite, "--isolate")

    assert path == f"{suite.directory}/test_a.py::test_dies"
    assert outcome == "failure"
    assert text.startswith("Crashed: killed by SIGABRT")
