"""The life of one sandbox in the keeper, as tables: no descriptor, no process and no clock.

A sandbox is made by a builder and its init. What they say and how they end comes in any order, so
the facts (has init been born, is it dead, has everybody stopped talking) stand beside the phase.

Rule: every phase and every transition is in the tables below, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
import enum
from typing import TYPE_CHECKING
from typing import Final
from typing import final

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping


class Phase(enum.Enum):
    """What becomes of the sandbox."""

    MAKING = enum.auto()  #: its builder and its init are at work
    FAILED = enum.auto()  #: it is known why it cannot be had, and somebody may be left of it
    READY = enum.auto()  #: it can be entered
    LENT = enum.auto()  #: the parent has it, and reads its counters until it retires it
    DYING = enum.auto()  #: everything inside is being killed
    GONE = enum.auto()  #: all of it is removed


class Event(enum.Enum):
    """What happens to it."""

    BORN = enum.auto()  #: init's pid is known
    MADE = enum.auto()  #: init said that the sandbox is complete
    FAILED = enum.auto()  #: somebody said why it cannot be had, or was too late
    HANDED_OVER = enum.auto()  #: the parent was sent its descriptors
    SILENT = enum.auto()  #: builder and init have both closed the pipe on which they report
    RETIRED = enum.auto()  #: nobody needs it any more
    DIED = enum.auto()  #: init is dead, and with it everything inside


class Effect(enum.Enum):
    """What the keeper then does, in this order."""

    REAP_BUILDER = enum.auto()  #: wait for it: until it has left, init is its child
    REAP_INIT = enum.auto()
    HAND_OVER = enum.auto()  #: send the parent its descriptors
    REFUSE = enum.auto()  #: tell the parent why it cannot have it
    KILL = enum.auto()  #: kill init, if it lives, and so everything inside
    REMOVE = enum.auto()  #: its cgroups, directories and descriptors


@final
@dataclass(frozen=True, slots=True)
class Life:
    """Where one sandbox stands."""

    phase: Phase = Phase.MAKING
    born: bool = False
    made: bool = False  #: init's word may come before the one of its birth
    silent: bool = False
    dead: bool = False

    @property
    def lives(self) -> bool:
        """Whether its init is known and not dead."""
        return self.born and not self.dead


def _is_whole(life: Life) -> bool:
    return life.made and life.lives


def _is_over(life: Life) -> bool:
    """Return whether nothing of a dying one can come any more.

    A builder that is not silent may still give birth.
    """
    return life.dead or (life.silent and not life.born)


#: What an event leads to, and what is done about it. An event that is not in the table of a phase
#: changes no more than the facts.
TRANSITIONS: Final[Mapping[Phase, Mapping[Event, tuple[Phase, tuple[Effect, ...]]]]] = {
    Phase.MAKING: {
        Event.FAILED: (Phase.FAILED, ()),
        Event.SILENT: (Phase.DYING, (Effect.REAP_BUILDER, Effect.REFUSE, Effect.KILL)),
        Event.RETIRED: (Phase.DYING, (Effect.KILL,)),
        Event.DIED: (Phase.MAKING, (Effect.REAP_BUILDER, Effect.REAP_INIT)),
    },
    Phase.FAILED: {
        Event.SILENT: (Phase.DYING, (Effect.REAP_BUILDER, Effect.REFUSE, Effect.KILL)),
        Event.RETIRED: (Phase.DYING, (Effect.KILL,)),
        Event.DIED: (Phase.FAILED, (Effect.REAP_BUILDER, Effect.REAP_INIT)),
    },
    Phase.READY: {
        Event.HANDED_OVER: (Phase.LENT, ()),
        Event.FAILED: (Phase.DYING, (Effect.REFUSE, Effect.KILL)),
        Event.SILENT: (Phase.READY, (Effect.REAP_BUILDER,)),
        Event.RETIRED: (Phase.DYING, (Effect.KILL,)),
        Event.DIED: (Phase.READY, (Effect.REAP_BUILDER, Effect.REAP_INIT)),
    },
    Phase.LENT: {
        Event.SILENT: (Phase.LENT, (Effect.REAP_BUILDER,)),
        Event.RETIRED: (Phase.DYING, (Effect.KILL,)),
        Event.DIED: (Phase.LENT, (Effect.REAP_BUILDER, Effect.REAP_INIT)),
    },
    Phase.DYING: {
        Event.BORN: (Phase.DYING, (Effect.KILL,)),
        Event.SILENT: (Phase.DYING, (Effect.REAP_BUILDER,)),
        Event.DIED: (Phase.DYING, (Effect.REAP_BUILDER, Effect.REAP_INIT)),
    },
    Phase.GONE: {
        Event.SILENT: (Phase.GONE, (Effect.REAP_BUILDER,)),
    },
}
#: Where a phase ends by itself, once the facts are so.
COMPLETIONS: Final[Mapping[Phase, tuple[Callable[[Life], bool], Phase, Effect]]] = {
    Phase.MAKING: (_is_whole, Phase.READY, Effect.HAND_OVER),
    Phase.DYING: (_is_over, Phase.GONE, Effect.REMOVE),
}


def advance(life: Life, event: Event) -> tuple[Life, tuple[Effect, ...]]:
    """Return the life after *event*, and what to do."""
    phase, effects = TRANSITIONS[life.phase].get(event, (life.phase, ()))
    life = Life(
        phase=phase,
        born=life.born or event is Event.BORN,
        made=life.made or event is Event.MADE,
        silent=life.silent or event is Event.SILENT,
        dead=life.dead or event is Event.DIED,
    )
    if phase in COMPLETIONS:
        is_complete, following, effect = COMPLETIONS[phase]
        if is_complete(life):
            return replace(life, phase=following), (*effects, effect)
    return life, effects
