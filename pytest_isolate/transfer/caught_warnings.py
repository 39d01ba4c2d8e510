"""Warnings to frames and back: whatever its class, a warning arrives.

No module is imported for it in the parent, where the test's own code must not run, and no
warning's `__init__` is called.
"""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING
from typing import Any
from typing import Final
import warnings

from pytest_isolate.transfer import surrogates
from pytest_isolate.transfer.reports import describe
from pytest_isolate.warning_types import PytestIsolateWarning
from pytest_isolate.wire.frames import Warned

if TYPE_CHECKING:
    import pytest

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
        "classes": surrogates.names(
            type(message) if isinstance(message, Warning) else Warning, Warning
        ),
        "category": surrogates.names(warning_message.category, Warning),
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
        message=surrogates.make(data["classes"], data["args"], str(data["text"]), Warning),
        category=surrogates.find(data["category"], Warning),
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


def tell(item: pytest.Item, text: str) -> None:
    """Warn of something that is not the test's, so that no filter makes an error of it."""
    path, line, _ = item.location
    message = warnings.WarningMessage(
        message=PytestIsolateWarning(text),
        category=PytestIsolateWarning,
        filename=str(item.config.rootpath / path),
        lineno=(line or 0) + 1,
    )
    item.ihook.pytest_warning_recorded.call_historic(
        kwargs={
            "warning_message": message,
            "when": "runtest",
            "nodeid": item.nodeid,
            "location": None,
        }
    )


def _args(message: Warning | str) -> tuple[object, ...]:
    return message.args if isinstance(message, Warning) else (message,)


def _source(source: object) -> object:
    """Return something for the object whose leak is warned of.

    pytest advises tracemalloc where there is a source; if it is on already, it would tell where
    the stand-in was allocated.
    """
    return None if source is None or tracemalloc.is_tracing() else str(source)
