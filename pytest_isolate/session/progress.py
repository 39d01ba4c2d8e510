"""How far a test has come, as its process tells: everything that may follow what. Pure.

Rule: every state and every transition is in the table below, and nowhere else. What it does not
name changes nothing: a plugin may run a phase again within its hooks, or report what it likes.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING
from typing import Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_isolate.transfer.reports import When


class State(enum.IntEnum):
    """What is the next that a test has to say."""

    OUTSIDE = enum.auto()  #: that it has entered its sandbox
    SETUP = enum.auto()  #: the report of its setup
    CALL = enum.auto()  #: the report of its call
    UNWINDING = enum.auto()  #: the same, but it is torn down already, as by `pytest.exit`
    TEARDOWN = enum.auto()  #: the report of its teardown
    COMPLETE = enum.auto()  #: nothing more


class Step(enum.IntEnum):
    """What it says."""

    ENTERED = enum.auto()  #: it is in its sandbox
    BEGUN = enum.auto()  #: setup or call begins
    TEARING_DOWN = enum.auto()  #: teardown begins
    SET_UP = enum.auto()  #: the report of a setup that a call follows
    NOT_CALLED = enum.auto()  #: the report of a setup that no call follows
    CALLED = enum.auto()  #: the report of its call
    TORN_DOWN = enum.auto()  #: the report of its teardown


TRANSITIONS: Final[Mapping[State, Mapping[Step, State]]] = {
    State.OUTSIDE: {
        Step.ENTERED: State.SETUP,
    },
    State.SETUP: {
        Step.SET_UP: State.CALL,
        Step.NOT_CALLED: State.TEARDOWN,
        Step.TORN_DOWN: State.COMPLETE,
    },
    State.CALL: {
        Step.TEARING_DOWN: State.UNWINDING,
        Step.CALLED: State.TEARDOWN,
        Step.NOT_CALLED: State.TEARDOWN,
        Step.TORN_DOWN: State.COMPLETE,
    },
    State.UNWINDING: {
        Step.BEGUN: State.CALL,
        Step.CALLED: State.TEARDOWN,
        Step.NOT_CALLED: State.TEARDOWN,
        Step.TORN_DOWN: State.COMPLETE,
    },
    State.TEARDOWN: {
        Step.TORN_DOWN: State.COMPLETE,
    },
    State.COMPLETE: {
        Step.SET_UP: State.TEARDOWN,
        Step.NOT_CALLED: State.TEARDOWN,
        Step.CALLED: State.TEARDOWN,
    },
}

#: The phase that a test dies in, by what it had to say next.
PHASES: Final[Mapping[State, When]] = {
    State.OUTSIDE: "setup",
    State.SETUP: "setup",
    State.CALL: "call",
    State.UNWINDING: "teardown",
    State.TEARDOWN: "teardown",
    State.COMPLETE: "teardown",
}


def advance(state: State, step: Step) -> State:
    """Return the state after *step*."""
    return TRANSITIONS[state].get(step, state)


def step_of(when: When, *, call_follows: bool) -> Step:
    """Return the step of a report of the phase *when*; *call_follows* is asked of a setup's."""
    match when:
        case "setup":
            return Step.SET_UP if call_follows else Step.NOT_CALLED
        case "call":
            return Step.CALLED
        case "teardown":
            return Step.TORN_DOWN
