"""What the tests on the real kernel need of it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from typing import Any

import pytest

from pytest_isolate.sandbox.launch.entry import Entry
from pytest_isolate.sandbox.linux import mountinfo
from pytest_isolate.sandbox.outcome import Exited
from pytest_isolate.sandbox.pool import Pool
from pytest_isolate.sandbox.spec import Spec
from pytest_isolate.sandbox.supervise import execution
from pytest_isolate.wire.frames import Event
from pytest_isolate.wire.frames import Frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator

    from pytest_isolate.wire.channel import Writer


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """Start a keeper for the tests of a module."""
    pool = Pool.start()
    yield pool
    pool.close()


@pytest.fixture
def ask(pool: Pool) -> Callable[..., Any]:
    """Return a function that calls *question* in a fresh sandbox and returns its answer."""

    def ask(question: Callable[[], object], spec: Spec | None = None) -> Any:
        answers: list[Any] = []

        def hear(frame: Frame) -> None:
            if isinstance(frame, Event):
                answers.append(frame.data["answer"])

        def main(writer: Writer) -> None:
            writer.send(Event("answer", {"answer": question()}))

        sandbox = pool.acquire(spec or Spec())
        try:
            end = execution.run(sandbox, Entry(cwd="/"), main, on_frame=hear)
        finally:
            sandbox.retire()
        assert end.outcome == Exited(0)
        return answers[0]

    return ask


@pytest.fixture
def nothing_is_left() -> Iterator[None]:
    """Fail if the test leaves a mount or a process: not for one that has a `pool`."""
    before = mountinfo.current()
    yield
    assert mountinfo.current() == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
