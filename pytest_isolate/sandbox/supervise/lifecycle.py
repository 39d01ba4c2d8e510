"""The life of one process in one sandbox: what may happen when, and what is done about it.

Rule: every stage and every transition is in the table below, and nowhere else. Here is no clock and
no descriptor: whoever has those tells what happens, and does what is to be done, in its order.
"""

from __future__ import annotations

from dataclasses import dataclass
import enum
from typing import TYPE_CHECKING
from typing import Final
from typing import TypeAlias
from typing import final

from pytest_isolate.sandbox.errors import SandboxError
from pytest_isolate.sandbox.outcome import KernelDenied
from pytest_isolate.sandbox.outcome import TimeLimit
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

    from pytest_isolate.sandbox.outcome import EndedFor
    from pytest_isolate.sandbox.outcome import MemoryLimit


class Stage(enum.IntEnum):
    """How far the process has come."""

    STARTING = enum.auto()  #: it exists, and enters its sandbox
    RUNNING = enum.auto()  #: it is inside, and tells what it does
    LEAVING = enum.auto()  #: it has said everything, or why it could not enter
    CONDEMNED = enum.auto()  #: it is killed: what it says after that does not count
    DRAINING = enum.auto()  #: it has ended by itself, and may not have been heard to the end
    ENDED = enum.auto()


class Sign(enum.IntEnum):
    """Something that happens, and has no more to tell."""

    NOTIFIER_RANG = enum.auto()  #: it has come to the memory cap that the kernel keeps
    NOTIFIER_SPENT = enum.auto()  #: the notifier is not looked into any more: the kernel just kills
    MEMORY_DENIED = enum.auto()  #: the kernel had no memory for it, and killed nobody
    PROCESS_ENDED = enum.auto()  #: the kernel says that it has ended
    DRAINED = enum.auto()  #: there is nothing more to hear of it
    CANCELLED = enum.auto()  #: whoever waits for it does so no more


@dataclass(frozen=True, slots=True)
class Overdue:
    """The time is over that it had: *seconds*."""

    seconds: float


@dataclass(frozen=True, slots=True)
class MemorySeen:
    """It was seen to have more memory than it may."""

    limit: MemoryLimit


#: What may happen: a frame comes, or this.
Happening: TypeAlias = Frame | Overdue | MemorySeen | Sign


class Effect(enum.IntEnum):
    """Something to be done."""

    DELIVER = enum.auto()  #: hand the frame on
    EXAMINE = enum.auto()  #: look around, and ask for last words
    ANNOUNCE = enum.auto()  #: tell that the time is over, while everything still lives
    KILL = enum.auto()  #: kill everything inside
    WAIT_FOR_DEATH = enum.auto()  #: start the time in which what was killed has to be dead
    FAIL = enum.auto()  #: raise that it is not, and is left behind
    ANSWER = enum.auto()  #: look into it that the notifier rings, and let the kernel decide
    MUTE = enum.auto()  #: do not listen to the notifier any more
    DRAIN = enum.auto()  #: hear what is left
    REAP = enum.auto()  #: wait for its death, and give its status away
    ABANDON = enum.auto()  #: the same without waiting


@dataclass(frozen=True, slots=True)
class Step:
    """What comes of something that happens: the next stage, and what is to be done."""

    stage: Stage
    effects: tuple[Effect, ...] = ()


def _alive(stage: Stage) -> dict[object, Step]:
    """Return what may happen at any *stage* of a process that nobody has killed."""
    return {
        Overdue: Step(
            Stage.CONDEMNED,
            (Effect.MUTE, Effect.EXAMINE, Effect.ANNOUNCE, Effect.KILL, Effect.WAIT_FOR_DEATH),
        ),
        MemorySeen: Step(
            Stage.CONDEMNED, (Effect.MUTE, Effect.EXAMINE, Effect.KILL, Effect.WAIT_FOR_DEATH)
        ),
        Sign.NOTIFIER_RANG: Step(stage, (Effect.ANSWER,)),
        Sign.NOTIFIER_SPENT: Step(stage, (Effect.MUTE,)),
        # Whoever says so has killed it, when it had been heard: what it has said counts.
        Sign.MEMORY_DENIED: Step(stage, (Effect.MUTE,)),
        Sign.PROCESS_ENDED: Step(Stage.DRAINING, (Effect.DRAIN,)),
        Sign.CANCELLED: Step(Stage.ENDED, (Effect.KILL, Effect.REAP)),
    }


def _story(stage: Stage) -> dict[object, Step]:
    """Return what a process tells of its tests, at a *stage* in which that counts."""
    return dict.fromkeys((Phase, Report, Warned, Stop, Event), Step(stage, (Effect.DELIVER,)))


#: By what happens: signs by themselves, all else by its type. What is in no row of a stage changes
#: nothing there.
TRANSITIONS: Final[Mapping[Stage, Mapping[object, Step]]] = {
    Stage.STARTING: {
        **_alive(Stage.STARTING),
        Confined: Step(Stage.RUNNING, (Effect.DELIVER,)),
        Refused: Step(Stage.LEAVING),
    },
    Stage.RUNNING: {
        **_alive(Stage.RUNNING),
        **_story(Stage.RUNNING),
        Bye: Step(Stage.LEAVING),
    },
    Stage.LEAVING: _alive(Stage.LEAVING),
    Stage.CONDEMNED: {
        Overdue: Step(Stage.ENDED, (Effect.FAIL,)),
        Sign.PROCESS_ENDED: Step(Stage.ENDED, (Effect.DRAIN,)),
        Sign.CANCELLED: Step(Stage.ENDED, (Effect.KILL, Effect.ABANDON)),
    },
    Stage.DRAINING: {
        **_story(Stage.DRAINING),
        Confined: Step(Stage.DRAINING, (Effect.DELIVER,)),
        Refused: Step(Stage.DRAINING),
        Bye: Step(Stage.DRAINING),
        Sign.DRAINED: Step(Stage.ENDED),
        Sign.CANCELLED: Step(Stage.ENDED, (Effect.KILL, Effect.REAP)),
    },
    Stage.ENDED: {
        # Both had happened before, and are found or told now.
        MemorySeen: Step(Stage.ENDED),
        Sign.MEMORY_DENIED: Step(Stage.ENDED),
        Sign.CANCELLED: Step(Stage.ENDED, (Effect.KILL, Effect.ABANDON)),
    },
}
_ALIVE: Final = (Stage.STARTING, Stage.RUNNING, Stage.LEAVING)
#: What says something of the end.
_TELLING: Final = frozenset({Bye, Refused, Overdue, MemorySeen, Sign.MEMORY_DENIED})


@final
class Lifecycle:
    """One process's stage, and what is known of its end by now."""

    def __init__(self) -> None:
        self.stage = Stage.STARTING
        self.said_bye = False
        self.refused: SandboxError | None = None  #: why it is not in its sandbox
        self.ended_for: EndedFor | None = None

    @property
    def may_live(self) -> bool:
        """Whether nobody has killed it, and it has not ended, as far as is known."""
        return self.stage in _ALIVE

    def feed(self, happening: Happening) -> tuple[Effect, ...]:
        """Take in what happens, and return what is to be done."""
        kind: object = happening if isinstance(happening, Sign) else type(happening)
        step = TRANSITIONS[self.stage].get(kind)
        if step is None:
            return ()
        if kind in _TELLING:
            self._note(happening)
        self.stage = step.stage
        return step.effects

    def _note(self, happening: Happening) -> None:
        match happening:
            case Bye():
                self.said_bye = True
            case Refused(error):
                self.refused = SandboxError.from_json(error)
            case Overdue(seconds):
                self.ended_for = self.ended_for or TimeLimit(seconds)
            case MemorySeen(limit):
                self.ended_for = self.ended_for or limit
            case Sign.MEMORY_DENIED:
                self.ended_for = KernelDenied()
            case _:
                pass
