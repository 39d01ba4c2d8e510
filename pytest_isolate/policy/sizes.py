"""Sizes in bytes, as people write and read them. Pure."""

from __future__ import annotations

import re
from typing import Final

_FACTORS: Final[dict[str, int]] = {
    "": 1,
    # As systemd and the kernel read them: a bare letter is a power of 1024.
    **{unit: 1024**n for n, letter in enumerate("KMGT", 1) for unit in (letter, f"{letter}IB")},
    **{f"{letter}B": 1000**n for n, letter in enumerate("KMGT", 1)},
}
_SIZE: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?\s*([a-z]*)", re.ASCII | re.IGNORECASE)
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB")


def parse_size(text: str) -> int:
    """Return how many bytes *text* means: `1048576`, `100M`, `1.5GiB`, `100MB`.

    Units may be written in any case. A part of a byte is cut off. Raises ValueError.
    """
    match = _SIZE.fullmatch(text.strip())
    factor = _FACTORS.get(match[3].upper()) if match else None
    if match is None or factor is None or (match[2] and factor == 1):
        msg = "not a size; write bytes or a number with K, M, G, T, KiB..., KB..."
        raise ValueError(msg)
    fraction = match[2] or ""
    # In whole numbers: a float has no exact 0.1 and no exact count of bytes above 8 PiB.
    scaled: int = int(match[1] + fraction) * factor // 10 ** len(fraction)
    return scaled


def format_size(size: int) -> str:
    """Return *size* bytes to one decimal: `512 B`, `100.0 MiB`, `1.0 GiB`."""
    if size < 1024:  # noqa: PLR2004  # below the first unit
        return f"{size} B"
    amount = float(size)
    for unit in _UNITS:
        amount /= 1024
        # What would be printed as 1024.0 is 1.0 of the next unit.
        if round(amount, 1) < 1024 or unit == _UNITS[-1]:  # noqa: PLR2004
            break
    return f"{amount:.1f} {unit}"
