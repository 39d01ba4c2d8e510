"""Exceptions and warnings that cross by the names of their classes, and what stands in for them.

No module is imported and no `__init__` is called for it: the test's own code must not run here.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from typing import TypeVar
from typing import cast

if TYPE_CHECKING:
    from collections.abc import Iterable

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
