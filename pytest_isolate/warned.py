"""Warnings to frames and back: whatever its class, a warning arrives.

No module is imported for it in the parent, where the test's own code must not run, and no
warning's `__init__` is called.
"""

from __future__ import annotations

import sys
import tracemalloc
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import cast
import warnings

from pytest_isolate.reports import describe
from pytest_isolate.wire.frames import Warned

if TYPE_CHECKING:
    from pytest_isolate.wire.frames import Json

_PLAIN: Final = (str, int, float, bool, type(None))


def pack(
    warning_message: warnings.WarningMessage,
    *,
    when: str,
    nodeid: str,
    location: tuple[str, int, str] | None,
) -> Warned:
    """Return what `pytest_warning_recorded` was called with, for the wire."""
    message = warning_message.message
    warning: Json = {
        "text": describe(message, str),
        "args": [arg if type(arg) in _PLAIN else describe(arg, str) for arg in _args(message)],
        "classes": _classes(type(message) if isinstance(message, Warning) else Warning),
        "category": _classes(warning_message.category),
        "filename": str(warning_message.filename),
        "lineno": int(warning_message.lineno),
        "line": warning_message.line,
        "source": None if warning_message.source is None else "an object",
    }
    return Warned(warning, when, nodeid, None if location is None else list(location))


def unpack(frame: Warned) -> dict[str, Any]:
    """Return the arguments of `pytest_warning_recorded`.

    Raises `LookupError`, `TypeError` or `ValueError` for nonsense.
    """
    data = frame.warning
    message = warnings.WarningMessage(
        message=_message(data),
        category=_find(data["category"]),
        filename=str(data["filename"]),
        lineno=int(data["lineno"]),
        line=data["line"],
        source=_source(data["source"]),
    )
    location = None
    if frame.location is not None:
        filename, lineno, function = frame.location
        location = str(filename), int(lineno), str(function)
    return {
        "warning_message": message,
        "when": frame.when,
        "nodeid": frame.nodeid,
        "location": location,
    }


def _args(message: Warning | str) -> tuple[object, ...]:
    return message.args if isinstance(message, Warning) else (message,)


def _classes(kind: type[Warning]) -> list[list[str]]:
    """Return the names of *kind* and its bases, closest first, as far as they are warnings."""
    return [[one.__module__, one.__qualname__] for one in kind.__mro__ if issubclass(one, Warning)]


def _find(classes: list[list[str]]) -> type[Warning]:
    """Return the class that comes first in *classes*, or one of its name.

    A class that only the test process had imported or made is not here: then its closest base
    that is here gets a subclass of the same name.
    """
    for module, name in classes:
        found: object = sys.modules.get(module)
        for part in name.split("."):
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(found, Warning):
            if [module, name] == classes[0]:
                return found
            return _derive(found, *classes[0])
    return Warning


def _derive(base: type[Warning], module: str, name: str, **members: object) -> type[Warning]:
    space = {"__module__": module, "__qualname__": name, **members}
    return cast("type[Warning]", type(name.rpartition(".")[2], (base,), space))


def _message(data: Json) -> Warning:
    kind = _find(data["classes"])
    message = Warning.__new__(kind)
    message.args = tuple(data["args"])
    text = str(data["text"])
    try:
        same = str(message) == text
    except Exception:  # noqa: BLE001  # the class's own __str__, without what its __init__ sets
        same = False
    if not same:
        kind = _derive(kind, kind.__module__, kind.__qualname__, __str__=lambda _: text)
        message = Warning.__new__(kind)
        message.args = (text,)
    return message


def _source(source: object) -> object:
    """Return something for the object whose leak is warned of.

    pytest advises tracemalloc where there is a source; if it is on already, it would tell where
    the stand-in was allocated.
    """
    return None if source is None or tracemalloc.is_tracing() else str(source)
