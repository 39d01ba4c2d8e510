"""What serializing a report calls, as it is at import, while a test has replaced it.

A failing test's fixtures are alive when its report is made: `copy.deepcopy` may be a mock by then,
and the report of that very failure would be lost.
"""

from __future__ import annotations

from contextlib import contextmanager
import copy
import dataclasses
import json.encoder
import textwrap
from typing import TYPE_CHECKING
from typing import Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_MISSING: Final = object()
_AT_IMPORT: Final = [
    (names, dict(names))
    for names in (vars(module) for module in (copy, dataclasses, json.encoder, textwrap))
]


@contextmanager
def untouched() -> Iterator[None]:
    """Put back, for the while, what the test has replaced."""
    replaced = [
        (names, name, now)
        for names, before in _AT_IMPORT
        for name, value in before.items()
        if (now := names.get(name, _MISSING)) is not value
    ]
    if not replaced:
        yield
        return
    for names, before in _AT_IMPORT:
        names.update(before)
    try:
        yield
    finally:
        for names, name, now in replaced:
            if now is _MISSING:
                del names[name]
            else:
                names[name] = now
