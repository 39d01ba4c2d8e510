"""A call in a forked child, for what changes the process that does it: its namespaces, its cgroup.

The child answers by a pipe, in JSON; what else it has to hand over, the call itself does.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING
from typing import Any
from typing import NoReturn
from typing import final

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.linux import waits

if TYPE_CHECKING:
    from collections.abc import Callable


@final
class NoAnswerError(Exception):
    """The child has ended, or was killed after `waits.DYING`, without an answer."""

    def __init__(self, pid: int, status: int | None) -> None:
        super().__init__(pid, status)
        self.pid = pid
        self.status = status  #: its wait status, `None` if it has not even died when it was killed


def forked_call(call: Callable[[], object]) -> Any:  # noqa: ANN401  # as of `json.loads`
    """Return what *call* returns in a forked child: JSON values.

    Raises the `SandboxError` that it raises there, which an `OSError` becomes, or `NoAnswerError`.
    """
    answer, answer_end = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _answer(call, answer_end)
    os.close(answer_end)
    words, status = waits.hear(answer, pid)
    if status is None or not words:
        raise NoAnswerError(pid, status)
    said = json.loads(words)
    if "error" in said:
        raise SandboxError.from_json(said["error"])
    return said["value"]


def _answer(call: Callable[[], object], answer: int) -> NoReturn:
    status = 1
    try:
        try:
            said = {"value": call()}
        except OSError as error:
            said = {"error": SandboxError.from_os_error(error).to_json()}
        except SandboxError as error:
            said = {"error": error.to_json()}
        os.write(answer, json.dumps(said).encode())
        status = 0
    finally:
        os._exit(status)  # whatever happens: this is a fork of the caller
