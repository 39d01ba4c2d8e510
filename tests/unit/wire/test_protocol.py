"""The order of a test's conversation: what may follow what."""

from __future__ import annotations

from typing import Final
from typing import get_args

import pytest

from pytest_isolate.wire.errors import RemoteProtocolError
from pytest_isolate.wire.frames import Born
from pytest_isolate.wire.frames import Bye
from pytest_isolate.wire.frames import Confined
from pytest_isolate.wire.frames import Event
from pytest_isolate.wire.frames import Failed
from pytest_isolate.wire.frames import Frame
from pytest_isolate.wire.frames import Hello
from pytest_isolate.wire.frames import Made
from pytest_isolate.wire.frames import Phase
from pytest_isolate.wire.frames import Prepare
from pytest_isolate.wire.frames import Ready
from pytest_isolate.wire.frames import Refused
from pytest_isolate.wire.frames import Report
from pytest_isolate.wire.frames import Retire
from pytest_isolate.wire.frames import Stop
from pytest_isolate.wire.frames import Unready
from pytest_isolate.wire.frames import Warned
from pytest_isolate.wire.protocol import State
from pytest_isolate.wire.protocol import advance

STORY: Final[list[Frame]] = [
    Phase("test_x", "call"),
    Report({}),
    Warned({}, "runtest", "test_x", None),
    Stop("exit", "", None),
    Event("x", {}),
]
KEEPER: Final[list[Frame]] = [
    Prepare(1, {}),
    Retire(1),
    Hello([]),
    Ready(1, [], []),
    Unready(1, {}),
]
BUILDER: Final[list[Frame]] = [Born(1), Made([], {}), Failed({})]
EVERY: Final[list[Frame]] = [Confined(), Refused({}), *STORY, Bye(), *KEEPER, *BUILDER]


def allowed(state: State) -> list[Frame]:
    """Return the frames that may come in *state*."""
    good: list[Frame] = []
    for frame in EVERY:
        try:
            advance(state, frame)
        except RemoteProtocolError:
            continue
        good.append(frame)
    return good


def test_every_kind_of_frame_is_tried_here() -> None:
    assert [type(frame) for frame in EVERY] == list(get_args(Frame))


def test_a_process_first_says_whether_it_is_inside() -> None:
    assert allowed(State.FORKED) == [Confined(), Refused({})]
    assert advance(State.FORKED, Confined()) is State.RUNNING
    assert advance(State.FORKED, Refused({})) is State.DONE


def test_a_process_inside_tells_its_story_and_says_bye() -> None:
    assert allowed(State.RUNNING) == [*STORY, Bye()]
    assert {advance(State.RUNNING, frame) for frame in STORY} == {State.RUNNING}
    assert advance(State.RUNNING, Bye()) is State.DONE


def test_nothing_may_come_after_the_end() -> None:
    assert allowed(State.DONE) == []


def test_a_breach_is_told_by_the_frame_and_the_state() -> None:
    with pytest.raises(RemoteProtocolError, match=r"^Report is not allowed in DONE$"):
        advance(State.DONE, Report({}))
