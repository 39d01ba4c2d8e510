"""How far a test has come: what may follow what, and the phase that it dies in."""

from __future__ import annotations

from functools import reduce
from typing import Final

import pytest

from pytest_isolate.session.progress import PHASES
from pytest_isolate.session.progress import TRANSITIONS
from pytest_isolate.session.progress import State
from pytest_isolate.session.progress import Step
from pytest_isolate.session.progress import advance
from pytest_isolate.session.progress import step_of

#: A test that passes, step by step, with the phase that it would die in after each.
STORY: Final = [
    (Step.ENTERED, "setup"),
    (Step.BEGUN, "setup"),
    (Step.SET_UP, "call"),
    (Step.BEGUN, "call"),
    (Step.CALLED, "teardown"),
    (Step.TEARING_DOWN, "teardown"),
    (Step.TORN_DOWN, "teardown"),
]


def after(*steps: Step) -> State:
    """Return the state of a test that has told of *steps*."""
    return reduce(advance, steps, State.OUTSIDE)


def test_every_state_has_transitions_and_a_phase_to_die_in() -> None:
    assert list(TRANSITIONS) == list(State)
    assert list(PHASES) == list(State)


def test_a_test_dies_in_the_phase_that_has_no_report_yet() -> None:
    state = State.OUTSIDE
    for step, phase in STORY:
        state = advance(state, step)
        assert PHASES[state] == phase, step
    assert state is State.COMPLETE


@pytest.mark.parametrize("step", [step for step in Step if step is not Step.ENTERED])
def test_who_has_not_entered_the_sandbox_has_not_begun(step: Step) -> None:
    assert after(step) is State.OUTSIDE
    assert PHASES[State.OUTSIDE] == "setup"


def test_no_call_follows_a_setup_that_did_not_pass() -> None:
    assert after(Step.ENTERED, Step.BEGUN, Step.NOT_CALLED) is State.TEARDOWN


def test_a_teardown_that_begins_without_a_report_of_the_call_is_where_the_test_dies() -> None:
    called = (Step.ENTERED, Step.BEGUN, Step.SET_UP, Step.BEGUN)

    assert PHASES[after(*called)] == "call"
    assert PHASES[after(*called, Step.TEARING_DOWN)] == "teardown"
    # A plugin that tries again within its hook.
    assert PHASES[after(*called, Step.TEARING_DOWN, Step.BEGUN)] == "call"


def test_a_setup_without_a_report_is_where_the_test_dies_whatever_is_torn_down() -> None:
    assert PHASES[after(Step.ENTERED, Step.BEGUN, Step.TEARING_DOWN)] == "setup"


@pytest.mark.parametrize("step", [Step.SET_UP, Step.NOT_CALLED, Step.CALLED])
def test_a_report_after_the_teardowns_leaves_one_to_come(step: Step) -> None:
    complete = [step for step, _ in STORY]

    assert after(*complete, step) is State.TEARDOWN
    assert after(*complete, step, Step.TORN_DOWN) is State.COMPLETE


def test_what_a_complete_test_begins_again_changes_nothing() -> None:
    complete = [step for step, _ in STORY]

    for step in (Step.ENTERED, Step.BEGUN, Step.TEARING_DOWN, Step.TORN_DOWN):
        assert after(*complete, step) is State.COMPLETE


def test_a_report_is_a_step_by_its_phase() -> None:
    assert step_of("setup", call_follows=True) is Step.SET_UP
    assert step_of("setup", call_follows=False) is Step.NOT_CALLED
    for call_follows in (True, False):
        assert step_of("call", call_follows=call_follows) is Step.CALLED
        assert step_of("teardown", call_follows=call_follows) is Step.TORN_DOWN
