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
from pytest_isolate.wire.frames import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_isolate.sandbox.outcome import EndedFor
    from pytest_isolate.sandbox.outcome import MemoryLimit
    from pytest_isolate.wire.frames import Frame


class Stage(enum.Enum):
    """How far the process has come."""

    STARTING = enum.auto()  #: it exists, and enters its sandbox
    RUNNING = enum.auto()  #: it is inside, and tells what it does
    LEAVING = enum.auto()  #: it has said everything, or why it could not enter
    CONDEMNED = enum.auto()  #: it is killed: what it says after that does not count
    DRAINING = enum.auto()  #: it has ended by itself, and may not have been heard to the end
    ENDED = enum.auto()


@dataclass(frozen=True, slots=True)
class Heard:
    """The process has sent a frame."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class Overdue:
    """The time is over that it had: *seconds*."""

    seconds: float


@dataclass(frozen=True, slots=True)
class MemorySeen:
    """It was seen to have more memory than it may."""

    limit: MemoryLimit


@dataclass(frozen=True, slots=True)
class NotifierRang:
    """It has come to the memory cap that the kernel keeps."""


@dataclass(frozen=True, slots=True)
class NotifierSpent:
    """The notifier is not looked into any more: from now on the kernel just kills."""


@dataclass(frozen=True, slots=True)
class MemoryDenied:
    """The kernel had no memory for it, and killed nobody."""


@dataclass(frozen=True, slots=True)
class ProcessEnded:
    """The kernel says that it has ended."""


@dataclass(frozen=True, slots=True)
class Drained:
    """There is nothing more to hear of it."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Whoever waits for it does so no more."""


Happening: TypeAlias = (
    Heard
    | Overdue
    | MemorySeen
    | NotifierRang
    | NotifierSpent
    | MemoryDenied
    | ProcessEnded
    | Drained
    | Cancelled
)


class Effect(enum.Enum):
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


def _alive(stage: Stage) -> dict[type[object], Step]:
    """Return what may happen at any *stage* of a process that nobody has killed."""
    return {
        Overdue: Step(
            Stage.CONDEMNED,
            (Effect.MUTE, Effect.EXAMINE, Effect.ANNOUNCE, Effect.KILL, Effect.WAIT_FOR_DEATH),
        ),
        MemorySeen: Step(
            Stage.CONDEMNED, (Effect.MUTE, Effect.EXAMINE, Effect.KILL, Effect.WAIT_FOR_DEATH)
        ),
        NotifierRang: Step(stage, (Effect.ANSWER,)),
        NotifierSpent: Step(stage, (Effect.MUTE,)),
        # Whoever says so has killed it, when it had been heard: what it has said counts.
        MemoryDenied: Step(stage, (Effect.MUTE,)),
        ProcessEnded: Step(Stage.DRAINING, (Effect.DRAIN,)),
        Cancelled: Step(Stage.ENDED, (Effect.KILL, Effect.REAP)),
    }


#: By what happens: a frame by its type, those without a row of their own as `Heard`. What is in no
#: row of a stage changes nothing there.
TRANSITIONS: Final[Mapping[Stage, Mapping[type[object], Step]]] = {
    Stage.STARTING: {
        **_alive(Stage.STARTING),
        Confined: Step(Stage.RUNNING, (Effect.DELIVER,)),
        Refused: Step(Stage.LEAVING),
    },
    Stage.RUNNING: {
        **_alive(Stage.RUNNING),
        Heard: Step(Stage.RUNNING, (Effect.DELIVER,)),
        Bye: Step(Stage.LEAVING),
    },
    Stage.LEAVING: _alive(Stage.LEAVING),
    Stage.CONDEMNED: {
        Overdue: Step(Stage.ENDED, (Effect.FAIL,)),
        ProcessEnded: Step(Stage.ENDED, (Effect.DRAIN,)),
        Cancelled: Step(Stage.ENDED, (Effect.KILL, Effect.ABANDON)),
    },
    Stage.DRAINING: {
        Confined: Step(Stage.DRAINING, (Effect.DELIVER,)),
        Refused: Step(Stage.DRAINING),
        Heard: Step(Stage.DRAINING, (Effect.DELIVER,)),
        Bye: Step(Stage.DRAINING),
        Drained: Step(Stage.ENDED),
        Cancelled: Step(Stage.ENDED, (Effect.KILL, Effect.REAP)),
    },
    Stage.ENDED: {
        # Both had happened before, and are found or told now.
        MemorySeen: Step(Stage.ENDED),
        MemoryDenied: Step(Stage.ENDED),
        Cancelled: Step(Stage.ENDED, (Effect.KILL, Effect.ABANDON)),
    },
}


#: Frames that have rows of their own.
_SPECIAL: Final = frozenset({Confined, Refused, Bye})


def step_of(stage: Stage, happening: Happening) -> Step | None:
    """Return what comes of *happening* at *stage*; `None` is nothing at all."""
    kind: type[object] = type(happening)
    if isinstance(happening, Heard) and type(happening.frame) in _SPECIAL:
        kind = type(happening.frame)
    return TRANSITIONS[stage].get(kind)


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
        return self.stage in {Stage.STARTING, Stage.RUNNING, Stage.LEAVING}

    def feed(self, happening: Happening) -> tuple[Effect, ...]:
        """Take in what happens, and return what is to be done."""
        step = step_of(self.stage, happening)
        if step is None:
            return ()
        self._note(happening)
        self.stage = step.stage
        return step.effects

    def _note(self, happening: Happening) -> None:
        match happening:
            case Heard(Refused(error=error)):
                self.refused = SandboxError.from_json(error)
            case Heard(Bye()):
                self.said_bye = True
            case Overdue(seconds):
                self.ended_for = self.ended_for or TimeLimit(seconds)
            case MemorySeen(limit):
                self.ended_for = self.ended_for or limit
            case MemoryDenied():
                self.ended_for = KernelDenied()
            case _:
                pass
