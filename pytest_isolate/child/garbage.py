"""What a test leaves to the garbage collector, found without a look at what was there before.

A collection writes to every object that it looks at, and in a fork each page with one on it is
copied first: that takes longer than most tests, and counts for their memory. What is frozen is not
looked at. A test must not see a difference, so all is as ever from the moment it looks itself.
"""

from __future__ import annotations

from functools import cache
from functools import wraps
import gc
import sys
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import final

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Iterator
    from types import ModuleType

#: What shows which objects there are, or which of them are frozen.
_LOOKS: Final = ("get_objects", "get_referrers", "get_freeze_count", "freeze")
_FULL: Final = 2  #: the generation that a collection of everything is called by
_YOUNG: Final = 1  #: the youngest and those that have survived once
#: A collection of that generation or more makes survivors old; since Python 3.14 each may.
_PROMOTING: Final = 0 if sys.version_info >= (3, 14) else 1
#: How often what finalizers have left is collected as well.
_ROUNDS: Final = 5


@final
class Garbage:
    """The garbage of a fork; it is made before, with all that can be."""

    # Bound here: a test may have replaced them.
    _collect = staticmethod(gc.collect)
    _freeze = staticmethod(gc.freeze)
    _unfreeze = staticmethod(gc.unfreeze)

    def __init__(self) -> None:
        self._is_frozen = False
        self._has_promoted = False  #: whether objects that came into being here may be old by now
        #: Modules' names, the functions that they are for, and what stands in for them.
        self._looks = [
            (module, name, genuine, self._wrap(genuine)) for module, name, genuine in _lookers()
        ]

    def begin(self) -> None:
        """Freeze what this process, a fork, was born with, until the test looks."""
        self._is_frozen = True
        for module, name, _, looking in self._looks:
            setattr(module, name, looking)
        gc.callbacks.insert(0, self._collection_begins)
        self._freeze()

    def _wrap(self, genuine: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(genuine)
        def look(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # as the one it wraps
            self._thaw()
            return genuine(*args, **kwargs)

        return look

    def _collection_begins(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] >= _PROMOTING:
            self._has_promoted = True
        if phase == "start" and info["generation"] == _FULL:
            self._thaw()

    def _thaw(self) -> None:
        if not self._is_frozen:
            return
        self._is_frozen = False
        self._unfreeze()
        for module, name, genuine, looking in self._looks:
            if vars(module).get(name) is looking:
                setattr(module, name, genuine)

    def collect(self) -> None:
        """Collect the garbage of what came into being here, or of everything if the test looked."""
        self._is_frozen = False  # this is no look of the test's
        # A full one gives lists of free objects back too, which the parent had filled: 125 page
        # faults. It is needed only where objects of the test may be among the oldest.
        generation = _FULL if self._has_promoted else _YOUNG
        for _ in range(_ROUNDS):
            if not self._collect(generation):
                break


def _lookers() -> Iterator[tuple[ModuleType, str, Callable[..., Any]]]:
    """Yield where the functions that look are had: in `gc`, and where they are imported from it."""
    for module in list(sys.modules.values()):
        for name in _LOOKS:
            genuine: Callable[..., Any] = getattr(gc, name)
            if getattr(module, "__dict__", {}).get(name) is genuine:
                yield module, name, genuine


#: That of the session: to make it takes a look at each module.
prepared: Final = cache(Garbage)
