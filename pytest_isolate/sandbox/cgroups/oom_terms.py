"""What both sides of a notifier go by: the keeper, which arms it, and pytest, which it tells.

The labels of the descriptors that cross, and how far a group's limit lies above its memory cap.
"""

from __future__ import annotations

import os
from typing import Final

#: Labels of the descriptors that a notifier is made of, after the version: `v1.event`.
EVENT: Final = "event"
DENIALS: Final = "denials"
DIRECTORY: Final = "group"
_MARGIN_SHARE: Final = 16
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def margin(cap: int, least: int) -> int:
    """Return the bytes above *cap* in which a process can say where it is, *least* or more."""
    return max(least, cap // _MARGIN_SHARE) // _PAGE * _PAGE


def legacy_margin(cap: int) -> int:
    """Return the margin of version 1, which is filled as fast as memory can be written to."""
    return margin(cap, 8 << 20)


def unified_margin(cap: int) -> int:
    """Return the margin of version 2, in which the kernel slows the group down.

    It does so with the square of the share of *cap*: to fill a sixteenth takes a second or more
    (mm/memcontrol.c, calculate_high_delay).
    """
    return margin(cap, 1 << 20)
