"""The life of a process in a sandbox, row by row: what may happen when, and what is done then."""

from __future__ import annotations

from itertools import product
from typing import Final

import pytest

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.outcome import EndedFor
from pytest_isolate.sandbox.outcome import KernelDenied
from pytest_isolate.sandbox.outcome import MemoryLimit
from pytest_isolate.sandbox.outcome import TimeLimit
from pytest_isolate.sandbox.supervise.lifecycle import TRANSITIONS
from pytest_isolate.sandbox.supervise.lifecycle import Effect
from pytest_isolate.sandbox.supervise.lifecycle import Happening
from pytest_isolate.sandbox.supervise.lifecycle import Lifecycle
from pytest_isolate.sandbox.supervise.lifecycle import MemorySeen
from pytest_isolate.sandbox.supervise.lifecycle import Overdue
from pytest_isolate.sandbox.supervise.lifecycle import Sign
from pytest_isolate.sandbox.supervise.lifecycle import Stage
from pytest_isolate.wire import protocol
from pytest_isolate.wire.frames import Bye
from pytest_isolate.wire.frames import Confined
from pytest_isolate.wire.frames import Event
from pytest_isolate.wire.frames import Phase
from pytest_isolate.wire.frames import Refused
from pytest_isolate.wire.frames import Report
from pytest_isolate.wire.frames import Stop
from pytest_isolate.wire.frames import Warned

ERROR: Final = SandboxError("change directory", "no such directory", code=2)
LIMIT: Final = MemoryLimit(100, 120)

CONFINED: Final = Confined()
REFUSED: Final = Refused(ERROR.to_json())
TOLD: Final = Phase("test_x", "call")
STORY: Final[list[Happening]] = [
    TOLD,
    Report({}),
    Warned({}, "runtest", "test_x", None),
    Stop("exit", "", None),
    Event("x", {}),
]
BYE: Final = Bye()
OVERDUE: Final = Overdue(1.5)
MEMORY_SEEN: Final = MemorySeen(LIMIT)
RANG: Final = Sign.NOTIFIER_RANG
SPENT: Final = Sign.NOTIFIER_SPENT
DENIED: Final = Sign.MEMORY_DENIED
PROCESS_ENDED: Final = Sign.PROCESS_ENDED
DRAINED: Final = Sign.DRAINED
CANCELLED: Final = Sign.CANCELLED
EVERY: Final[list[Happening]] = [CONFINED, REFUSED, *STORY, BYE, OVERDUE, MEMORY_SEEN, *Sign]

DELIVER = (Effect.DELIVER,)
TIME_IS_OVER = (
    *(Effect.MUTE, Effect.EXAMINE, Effect.ANNOUNCE, Effect.KILL),
    Effect.WAIT_FOR_DEATH,
)
TOO_MUCH_MEMORY = (Effect.MUTE, Effect.EXAMINE, Effect.KILL, Effect.WAIT_FOR_DEATH)
GIVE_UP = (Effect.KILL, Effect.REAP)
ABANDON = (Effect.KILL, Effect.ABANDON)

Row = tuple[Stage, Happening, Stage, tuple[Effect, ...]]
ROWS: Final[list[Row]] = [
    (Stage.STARTING, CONFINED, Stage.RUNNING, DELIVER),
    (Stage.STARTING, REFUSED, Stage.LEAVING, ()),
    (Stage.STARTING, OVERDUE, Stage.CONDEMNED, TIME_IS_OVER),
    (Stage.STARTING, MEMORY_SEEN, Stage.CONDEMNED, TOO_MUCH_MEMORY),
    (Stage.STARTING, RANG, Stage.STARTING, (Effect.ANSWER,)),
    (Stage.STARTING, SPENT, Stage.STARTING, (Effect.MUTE,)),
    (Stage.STARTING, DENIED, Stage.STARTING, (Effect.MUTE,)),
    (Stage.STARTING, PROCESS_ENDED, Stage.DRAINING, (Effect.DRAIN,)),
    (Stage.STARTING, CANCELLED, Stage.ENDED, GIVE_UP),
    *((Stage.RUNNING, told, Stage.RUNNING, DELIVER) for told in STORY),
    (Stage.RUNNING, BYE, Stage.LEAVING, ()),
    (Stage.RUNNING, OVERDUE, Stage.CONDEMNED, TIME_IS_OVER),
    (Stage.RUNNING, MEMORY_SEEN, Stage.CONDEMNED, TOO_MUCH_MEMORY),
    (Stage.RUNNING, RANG, Stage.RUNNING, (Effect.ANSWER,)),
    (Stage.RUNNING, SPENT, Stage.RUNNING, (Effect.MUTE,)),
    (Stage.RUNNING, DENIED, Stage.RUNNING, (Effect.MUTE,)),
    (Stage.RUNNING, PROCESS_ENDED, Stage.DRAINING, (Effect.DRAIN,)),
    (Stage.RUNNING, CANCELLED, Stage.ENDED, GIVE_UP),
    (Stage.LEAVING, OVERDUE, Stage.CONDEMNED, TIME_IS_OVER),
    (Stage.LEAVING, MEMORY_SEEN, Stage.CONDEMNED, TOO_MUCH_MEMORY),
    (Stage.LEAVING, RANG, Stage.LEAVING, (Effect.ANSWER,)),
    (Stage.LEAVING, SPENT, Stage.LEAVING, (Effect.MUTE,)),
    (Stage.LEAVING, DENIED, Stage.LEAVING, (Effect.MUTE,)),
    (Stage.LEAVING, PROCESS_ENDED, Stage.DRAINING, (Effect.DRAIN,)),
    (Stage.LEAVING, CANCELLED, Stage.ENDED, GIVE_UP),
    (Stage.CONDEMNED, OVERDUE, Stage.ENDED, (Effect.FAIL,)),
    (Stage.CONDEMNED, PROCESS_ENDED, Stage.ENDED, (Effect.DRAIN,)),
    (Stage.CONDEMNED, CANCELLED, Stage.ENDED, ABANDON),
    (Stage.DRAINING, CONFINED, Stage.DRAINING, DELIVER),
    (Stage.DRAINING, REFUSED, Stage.DRAINING, ()),
    *((Stage.DRAINING, told, Stage.DRAINING, DELIVER) for told in STORY),
    (Stage.DRAINING, BYE, Stage.DRAINING, ()),
    (Stage.DRAINING, DRAINED, Stage.ENDED, ()),
    (Stage.DRAINING, CANCELLED, Stage.ENDED, GIVE_UP),
    (Stage.ENDED, MEMORY_SEEN, Stage.ENDED, ()),
    (Stage.ENDED, DENIED, Stage.ENDED, ()),
    (Stage.ENDED, CANCELLED, Stage.ENDED, ABANDON),
]
IN_ROWS: Final = [(stage, happening) for stage, happening, _, _ in ROWS]


def at(stage: Stage) -> Lifecycle:
    life = Lifecycle()
    life.stage = stage
    return life


def known(life: Lifecycle) -> tuple[bool, str, EndedFor | None]:
    return life.said_bye, str(life.refused or ""), life.ended_for


def after(*happenings: Happening) -> Lifecycle:
    life = Lifecycle()
    for happening in happenings:
        life.feed(happening)
    return life


def test_everything_that_may_happen_is_tried_here() -> None:
    frames = {frame for rows in protocol.TRANSITIONS.values() for frame in rows}

    assert {type(one) for one in EVERY} == {*frames, Overdue, MemorySeen, Sign}
    assert len(ROWS) == sum(len(rows) for rows in TRANSITIONS.values())
    assert {effect for *_, effects in ROWS for effect in effects} == set(Effect)


@pytest.mark.parametrize(("stage", "happening", "following", "effects"), ROWS)
def test_row(
    stage: Stage, happening: Happening, following: Stage, effects: tuple[Effect, ...]
) -> None:
    life = at(stage)

    assert life.feed(happening) == effects
    assert life.stage is following


@pytest.mark.parametrize(
    ("stage", "happening"),
    [one for one in product(Stage, EVERY) if one not in IN_ROWS],
)
def test_what_is_in_no_row_changes_nothing(stage: Stage, happening: Happening) -> None:
    life = at(stage)

    assert life.feed(happening) == ()
    assert life.stage is stage
    assert known(life) == (False, "", None)


@pytest.mark.parametrize("stage", Stage)
def test_only_who_was_not_killed_and_has_not_ended_may_live(stage: Stage) -> None:
    alive = {Stage.STARTING, Stage.RUNNING, Stage.LEAVING}

    assert at(stage).may_live == (stage in alive)


def test_process_that_says_everything_is_heard_whenever_it_ends() -> None:
    at_once = after(CONFINED, TOLD, BYE, PROCESS_ENDED, DRAINED)
    late = after(PROCESS_ENDED, CONFINED, TOLD, BYE, DRAINED)

    assert at_once.stage is late.stage is Stage.ENDED
    assert known(at_once) == known(late) == (True, "", None)


def test_why_it_could_not_enter_is_known_whenever_it_ends() -> None:
    at_once = after(REFUSED, PROCESS_ENDED, DRAINED)
    late = after(PROCESS_ENDED, REFUSED, DRAINED)

    assert known(at_once) == known(late) == (False, str(ERROR), None)


@pytest.mark.parametrize(("happening", "reason"), [(OVERDUE, TimeLimit(1.5)), (MEMORY_SEEN, LIMIT)])
def test_nothing_counts_that_is_said_after_the_kill(happening: Happening, reason: EndedFor) -> None:
    life = after(CONFINED, happening)

    assert (life.feed(TOLD), life.feed(BYE)) == ((), ())
    life.feed(PROCESS_ENDED)
    assert (life.feed(TOLD), life.feed(BYE)) == ((), ())
    assert life.stage is Stage.ENDED
    assert known(life) == (False, "", reason)


def test_process_that_hangs_after_its_last_word_is_killed_for_that() -> None:
    life = after(CONFINED, BYE, OVERDUE, PROCESS_ENDED)

    assert known(life) == (True, "", TimeLimit(1.5))


def test_first_limit_is_the_one_that_it_is_ended_for() -> None:
    assert after(OVERDUE, MEMORY_SEEN, OVERDUE).ended_for == TimeLimit(1.5)
    assert after(MEMORY_SEEN, OVERDUE).ended_for == LIMIT
    assert after(PROCESS_ENDED, DRAINED, MEMORY_SEEN).ended_for == LIMIT


def test_denied_memory_is_the_reason_whatever_comes_before_and_after_it() -> None:
    assert after(CONFINED, RANG, DENIED, OVERDUE, PROCESS_ENDED).ended_for == KernelDenied()
    assert after(CONFINED, OVERDUE, PROCESS_ENDED, DENIED).ended_for == KernelDenied()


def test_what_was_said_before_memory_was_denied_counts() -> None:
    life = after(CONFINED, RANG, DENIED)

    assert life.feed(TOLD) == DELIVER
    assert life.stage is Stage.RUNNING
