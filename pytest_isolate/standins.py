"""Exceptions and warnings that cross by the names of their classes, and what stands in for them.

Decoding must not run code, and a class may be one that only the test process had: then its
closest base that is here gets a subclass of the same name.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar
from typing import cast

if TYPE_CHECKING:
    from collections.abc import Iterable

_Kind = TypeVar("_Kind", bound=BaseException)


def names(kind: type[_Kind], root: type[_Kind]) -> list[list[str]]:
    """Return the names of *kind* and its bases, closest first, as far as they are below *root*."""
    return [[one.__module__, one.__qualname__] for one in kind.__mro__ if issubclass(one, root)]


def find(classes: list[list[str]], root: type[_Kind]) -> type[_Kind]:
    """Return the class that comes first in *classes*, or one of its name."""
    for module, name in classes:
        found: object = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(found, root):
            if [module, name] == classes[0]:
                return found
            return _derive(found, *classes[0])
    return root


def _derive(base: type[_Kind], module: str, name: str, **members: object) -> type[_Kind]:
    space = {"__module__": module, "__qualname__": name, **members}
    return cast("type[_Kind]", type(name.rpartition(".")[2], (base,), space))


def make(
    classes: list[list[str]], args: Iterable[Any], text: str, root: type[_Kind]
) -> _Kind:
    """Return an exception of the first of *classes*, whose `str` is *text*."""
    kind = find(classes, root)
    try:
        made = _bare(kind, tuple(args))
        same = str(made) == text
    except Exception:  # noqa: BLE001  # the class's own methods, without what its __init__ sets
        same = False
    if not same:
        return _bare(_derive(kind, *_name(kind), __str__=lambda _: text), (text,))
    return made
