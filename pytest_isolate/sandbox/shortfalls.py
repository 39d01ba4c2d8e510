"""What of a sandbox is less than planned: values, and their words last."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
import enum
import errno
from typing import Any
from typing import Final
from typing import final

from pytest_isolate.sandbox.features import Part

_NAMED: Final = 3  # of a list of paths that may be long


class Form(enum.StrEnum):
    """What is had instead, in the words that people see."""

    READ_ONLY = "read-only"
    PROCESSES_ALONE = "processes alone"  #: a proc without the kernel's settings
    HOST_PROCESSES = "processes of the host"
    HOST_DEVICES = "the host's devices"
    NO_TERMINALS = "no pseudo-terminals"
    HIDDEN_LIMITS = "its limits not to be seen"
    LASTING_DIRECTORIES = "directories that cannot be removed"
    COVERED_ROOT = "the old root covered and not gone"
    NETWORK_OF_ROOT = "low ports and ping for user 0 alone"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """One way in which a sandbox is less than planned."""

    form: Form
    part: Part  #: what it is less of
    where: tuple[str, ...] = ()  #: paths inside, mostly
    refused: str = ""  #: what the kernel refused, in a word: the part's own, or what it rests on
    code: int = 0  #: the errno of the refusal
    why: str = ""  #: the reason, where nothing was refused

    def __str__(self) -> str:
        """Return the line for people: `read-only: /data (overlay refused: EINVAL)`."""
        why = self.why or f"{self.refused} refused: {errno.errorcode.get(self.code, '')}"
        return f"{self.form}: {self._places()} ({why})" if self.where else f"{self.form} ({why})"

    def _places(self) -> str:
        more = len(self.where) - _NAMED
        return ", ".join(self.where[:_NAMED]) + (f" and {more} more" if more > 0 else "")

    def to_json(self) -> dict[str, Any]:
        """Return this as JSON values."""
        return {
            "form": self.form,
            "part": self.part,
            "where": list(self.where),
            "refused": self.refused,
            "code": self.code,
            "why": self.why,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Shortfall:
        """Return what `to_json` wrote."""
        known = {"form": Form(data["form"]), "part": Part(data["part"])}
        return cls(**{**data, **known, "where": tuple(data["where"])})


@final
class Shortfalls:
    """The shortfalls of one plan: each once, with all the places that have it."""

    def __init__(self) -> None:
        #: The keys are without a place.
        self._places: Final[dict[Shortfall, list[str]]] = {}

    def add(self, form: Form, place: str, part: Part, why: str) -> None:
        """Tell that *part* is had at *place* in the lesser *form*, and *why*."""
        self._add(Shortfall(form=form, part=part, why=why), place)

    def add_refused(
        self, form: Form, place: str, part: Part, error: OSError, *, refused: str = ""
    ) -> None:
        """Tell that *part*, or of it what is *refused*, could not be had at *place* for *error*."""
        code = error.errno or 0
        self._add(Shortfall(form=form, part=part, refused=refused or part, code=code), place)

    def all(self) -> tuple[Shortfall, ...]:
        """Return each way in which something is less than planned."""
        return tuple(replace(how, where=tuple(places)) for how, places in self._places.items())

    def _add(self, how: Shortfall, place: str) -> None:
        self._places.setdefault(how, []).append(place)
