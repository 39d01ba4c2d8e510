"""The conversation of a test process with its parent: everything that may follow what.

Rule: every state and every transition is in the table below, and nowhere else.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING
from typing import Final

from pytest_isolate.wire.errors import RemoteProtocolError
from pytest_isolate.wire.frames import Bye
from pytest_isolate.wire.frames import Confined
from pytest_isolate.wire.frames import Event
from pytest_isolate.wire.frames import Frame
from pytest_isolate.wire.frames import Phase
from pytest_isolate.wire.frames import Refused
from pytest_isolate.wire.frames import Report
from pytest_isolate.wire.frames import Stop
from pytest_isolate.wire.frames import Warned

if TYPE_CHECKING:
    from collections.abc import Mapping


class State(enum.IntEnum):
    """Where the conversation stands."""

    FORKED = enum.auto()  #: the process exists and enters its sandbox
    RUNNING = enum.auto()  #: it is inside, and tells what its tests do
    DONE = enum.auto()  #: it has said everything


TRANSITIONS: Final[Mapping[State, Mapping[type[Frame], State]]] = {
    State.FORKED: {
        Confined: State.RUNNING,
        Refused: State.DONE,
    },
    State.RUNNING: {
        Phase: State.RUNNING,
        Report: State.RUNNING,
        Warned: State.RUNNING,
        Stop: State.RUNNING,
        Event: State.RUNNING,
        Bye: State.DONE,
    },
    State.DONE: {},
}


def advance(state: State, frame: Frame) -> State:
    """Return the state after *frame*, or raise if the peer broke the protocol."""
    try:
        return TRANSITIONS[state][type(frame)]
    except KeyError:
        raise RemoteProtocolError(
            f"{type(frame).__name__} is not allowed in {state.name}"
        ) from None
