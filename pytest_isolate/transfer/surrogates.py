"""Exceptions and warnings that cross by the names of their classes, and what stands in for them.

An exception crosses with what it came from: a *chain*, the exception itself first.

No module is imported and no `__init__` is called for it: the test's own code must not run here.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
import sys
from typing import TYPE_CHECKING
from typing import Final
from typing import TypeVar
from typing import cast

from pytest_isolate.transfer.reports import describe

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Iterator

    from pytest_isolate.wire.frames import Json

_DEEPEST: Final = 8  #: causes of an exception that are told

_Kind = TypeVar("_Kind", bound=BaseException)


def names(kind: type[BaseException], root: type[BaseException]) -> list[list[str]]:
    """Return the names of *kind* and its bases below *root*, closest first."""
    return [[one.__module__, one.__qualname__] for one in kind.__mro__ if issubclass(one, root)]


def find(classes: list[list[str]], root: type[_Kind]) -> type[_Kind]:
    """Return the class that comes first in *classes*, or one of its name.

    A class that only the test process had imported or made is not here: then its closest base
    that is here gets a subclass of the same name.
    """
    for module, name in classes:
        found: object = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(found, root):
            if [module, name] == classes[0]:
                return found
            return _derive(found, *classes[0])
    return root


def make(classes: list[list[str]], args: Iterable[object], text: str, root: type[_Kind]) -> _Kind:
    """Return one of the class that comes first in *classes*, whose `str` is *text*."""
    kind = find(classes, root)
    try:
        made = _bare(kind, *args)
        if str(made) == text:
            return made
    except Exception:  # noqa: BLE001, S110  # its own methods, without what its __init__ sets
        pass
    return _bare(_named(kind, text), text)


def chain(error: BaseException | None) -> Iterator[Json]:
    """Yield *error* and what it came from, as pytest would tell it."""
    for _ in range(_DEEPEST):
        if error is None:
            return
        yield {"classes": names(type(error), BaseException), "text": describe(error, str)}
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def of_chain(links: Iterable[Json]) -> BaseException | None:
    """Return what stands in for the exception that `chain` told of; of nonsense as much as goes."""
    errors: list[BaseException] = []
    with suppress(LookupError, TypeError, ValueError, AttributeError):
        for link in links:
            text = str(link["text"])
            errors.append(make(link["classes"], (text,), text, BaseException))
    for error, cause in pairwise(errors):
        error.__context__ = cause
    return errors[0] if errors else None


def _bare(kind: type[_Kind], *args: object) -> _Kind:
    made = kind.__new__(kind)
    made.args = args
    return made


def _named(kind: type[_Kind], text: str) -> type[_Kind]:
    return _derive(kind, kind.__module__, kind.__qualname__, __str__=lambda _: text)


def _derive(base: type[_Kind], module: str, name: str, **members: object) -> type[_Kind]:
    # An exception group cannot be made without its exceptions.
    sound = Exception if issubclass(base, BaseExceptionGroup) else base
    space = {"__module__": module, "__qualname__": name, **members}
    return cast("type[_Kind]", type(name.rpartition(".")[2], (sound,), space))
