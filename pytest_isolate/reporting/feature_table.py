"""The table of what a machine gives: a row a capability, what it lacks and its fix below. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Iterator

    from pytest_isolate.sandbox.features import Capability

_STATE_WIDTH = len("partial")


def rows(capabilities: Iterable[Capability]) -> Iterator[str]:
    """Yield the lines of *capabilities*; a fix that many share is said once, by the last."""
    entries = list(capabilities)
    width = max((len(entry.name) for entry in entries), default=0)
    indent = " " * (width + _STATE_WIDTH + 4)
    for entry, following in zip(entries, [*entries[1:], None], strict=True):
        yield f"{entry.name:<{width}}  {entry.state:<{_STATE_WIDTH}}  {_words(entry)}".rstrip()
        shared = following is not None and following.fix == entry.fix
        if entry.fix and entry.state != "yes" and not shared:
            yield f"{indent}fix: {entry.fix}"


def _words(entry: Capability) -> str:
    code = f" ({entry.errno_name})" if entry.code else ""
    if not entry.available:
        return f"{entry.why}{code}"
    return "; ".join(part for part in (entry.how, entry.lacks) if part)
