"""File names between processes whose file system encodings differ.

A name is bytes, and a `str` stands for it by the encoding of the process that has it: that of the
locale it was started in, or UTF-8. The keeper's is always UTF-8, so what is sent to it and comes
from it goes through here: the bytes stay the same.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING
from typing import Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_ERRORS: Final = "surrogateescape"
#: Where `str` and bytes go together as they do in UTF-8, invalid bytes included.
_SAME: Final = frozenset({"utf-8", "ascii"})


def to_utf8(text: str) -> str:
    """Return what stands in UTF-8 for the bytes that *text* stands for here.

    Text that stands for no bytes here is no file's name; it is said as it is.
    """
    try:
        return os.fsencode(text).decode("utf-8", _ERRORS)
    except UnicodeEncodeError:
        return text


def from_utf8(text: str) -> str:
    """Return what stands here for the bytes that *text* stands for in UTF-8."""
    return os.fsdecode(text.encode("utf-8", _ERRORS))


def sent(values: Any) -> Any:  # noqa: ANN401  # JSON values
    """Return JSON *values* of this process as the keeper reads them."""
    return values if sys.getfilesystemencoding() in _SAME else _each(values, to_utf8)


def received(values: Any) -> Any:  # noqa: ANN401  # JSON values
    """Return JSON *values* of the keeper as this process reads them."""
    return values if sys.getfilesystemencoding() in _SAME else _each(values, from_utf8)


def _each(value: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401  # JSON values
    match value:
        case str():
            return change(str(value))
        case list() | tuple():
            return [_each(item, change) for item in value]
        case dict():
            return {_each(key, change): _each(item, change) for key, item in value.items()}
        case _:
            return value
