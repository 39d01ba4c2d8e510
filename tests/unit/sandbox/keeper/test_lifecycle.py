"""A sandbox's life in the keeper: whatever happens in whatever order, all of it goes in the end."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING
from typing import Final

import pytest

from pytest_isolate.sandbox.keeper.lifecycle import TRANSITIONS
from pytest_isolate.sandbox.keeper.lifecycle import Effect
from pytest_isolate.sandbox.keeper.lifecycle import Event
from pytest_isolate.sandbox.keeper.lifecycle import Life
from pytest_isolate.sandbox.keeper.lifecycle import Phase
from pytest_isolate.sandbox.keeper.lifecycle import advance

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Iterator
    from collections.abc import Sequence

REAP_BOTH: Final = (Effect.REAP_BUILDER, Effect.REAP_INIT)
BIRTH: Final = (Event.BORN, Event.MADE)


def live(events: Iterable[Event]) -> tuple[Life, list[Effect]]:
    """Return the life after *events*, and all that was done."""
    life = Life()
    done: list[Effect] = []
    for event in events:
        life, effects = advance(life, event)
        done += effects
    return life, done


def last(events: Sequence[Event]) -> tuple[Phase, tuple[Effect, ...]]:
    """Return the phase after *events*, and what the last of them has led to."""
    life, _ = live(events[:-1])
    life, effects = advance(life, events[-1])
    return life.phase, effects


def stories() -> Iterator[tuple[Event, ...]]:
    """Yield every order of events in which a sandbox can be retired and end, whole or not.

    Nothing is said after the end of the pipe, and who is not known is not seen to die.
    """
    for said in (BIRTH, (Event.BORN, Event.FAILED), (Event.BORN,)):
        for story in permutations((*said, Event.SILENT, Event.RETIRED, Event.DIED)):
            is_last_word = all(story.index(one) < story.index(Event.SILENT) for one in said)
            if is_last_word and story.index(Event.BORN) < story.index(Event.DIED):
                yield story


def name(story: tuple[Event, ...]) -> str:
    return "-".join(event.name for event in story)


@pytest.mark.parametrize("order", [BIRTH, BIRTH[::-1]])
def test_it_is_handed_over_once_init_is_known_and_says_so(order: tuple[Event, ...]) -> None:
    assert last(order) == (Phase.READY, (Effect.HAND_OVER,))
    assert last((*order, Event.HANDED_OVER)) == (Phase.LENT, ())


def test_a_builder_that_says_why_not_is_awaited_and_then_told_to_the_parent() -> None:
    assert last((Event.FAILED,)) == (Phase.FAILED, ())
    assert last((Event.FAILED, Event.SILENT)) == (
        Phase.GONE,
        (Effect.REAP_BUILDER, Effect.REFUSE, Effect.KILL, Effect.REMOVE),
    )


def test_a_builder_that_dies_without_a_word_is_told_too() -> None:
    assert last((Event.SILENT,)) == (
        Phase.GONE,
        (Effect.REAP_BUILDER, Effect.REFUSE, Effect.KILL, Effect.REMOVE),
    )


def test_an_init_that_lives_is_killed_and_awaited_before_anything_is_removed() -> None:
    born = (Event.BORN, Event.FAILED, Event.SILENT)

    assert last(born) == (Phase.DYING, (Effect.REAP_BUILDER, Effect.REFUSE, Effect.KILL))
    assert last((*born, Event.DIED)) == (Phase.GONE, (*REAP_BOTH, Effect.REMOVE))


def test_what_the_parent_has_stays_until_it_retires_it() -> None:
    lent = (*BIRTH, Event.HANDED_OVER, Event.SILENT)

    assert last(lent) == (Phase.LENT, (Effect.REAP_BUILDER,))
    assert last((*lent, Event.DIED)) == (Phase.LENT, REAP_BOTH)
    assert last((*lent, Event.DIED, Event.RETIRED)) == (Phase.GONE, (Effect.KILL, Effect.REMOVE))
    assert last((*lent, Event.RETIRED)) == (Phase.DYING, (Effect.KILL,))
    assert last((*lent, Event.RETIRED, Event.DIED)) == (Phase.GONE, (*REAP_BOTH, Effect.REMOVE))


def test_one_that_cannot_be_handed_over_is_refused_and_killed() -> None:
    assert last((*BIRTH, Event.FAILED)) == (Phase.DYING, (Effect.REFUSE, Effect.KILL))


def test_a_child_that_is_born_to_one_who_is_dying_is_killed() -> None:
    assert last((Event.RETIRED,)) == (Phase.DYING, (Effect.KILL,))
    assert last((Event.RETIRED, Event.BORN)) == (Phase.DYING, (Effect.KILL,))
    assert last((Event.RETIRED, Event.MADE, Event.BORN)) == (Phase.DYING, (Effect.KILL,))


@pytest.mark.parametrize("story", tuple(stories()), ids=name)
def test_in_every_order_it_is_killed_and_reaped_and_then_removed_once(
    story: tuple[Event, ...],
) -> None:
    life, done = live(story)

    assert life.phase is Phase.GONE
    assert done.count(Effect.REMOVE) == 1
    assert done.count(Effect.REAP_INIT) == 1
    assert done.count(Effect.HAND_OVER) <= 1
    assert done.count(Effect.REFUSE) <= 1
    assert Effect.KILL in done[: done.index(Effect.REMOVE)]
    assert not (Effect.HAND_OVER in done and Effect.REFUSE in done)


def test_every_phase_is_in_the_table() -> None:
    assert list(TRANSITIONS) == list(Phase)
