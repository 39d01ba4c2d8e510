"""A test's memory over time against its cap: looked at now and then, and drawn for pytest-html."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any
from typing import Final
from typing import final

from pytest_isolate.policy.sizes import format_size
from pytest_isolate.wire.real_os import RealOS

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Sequence

    import pytest

    from pytest_isolate.sandbox.cgroups.oom_notifier import OomNotifier
    from pytest_isolate.sandbox.outcome import Usage

_PAUSE_SECONDS: Final = 0.05  #: between two looks, at first
_MOST: Final = 400  #: looks that are kept: then every other one goes, and the pause doubles
_WIDTH: Final = 480
_HEIGHT: Final = 130
_TOP: Final = 20
_BOTTOM: Final = 110
_HEADROOM: Final = 1.1


def wanted(config: pytest.Config, notifier: OomNotifier | None) -> Timeline | None:
    """Return a timeline if pytest-html writes a page, and *notifier* knows the memory in use."""
    if notifier is None or not getattr(config.option, "htmlpath", None):
        return None
    return Timeline(notifier.usage)


@final
class Timeline:
    """The memory of one test, by what *usage* says of it: bytes, or an OSError at the end."""

    def __init__(self, usage: Callable[[], int]) -> None:
        self.points: list[tuple[float, int]] = []  #: seconds since the start, bytes
        self._usage = usage
        self._start = RealOS.monotonic()
        self._pause = _PAUSE_SECONDS
        self._next = self._start

    def look(self) -> float:
        """Look if it is time, and return in how many seconds it will be again."""
        now = RealOS.monotonic()
        if now < self._next:
            return self._next - now
        try:
            self.points.append((now - self._start, self._usage()))
        except OSError:
            return self._pause
        if len(self.points) >= _MOST:
            del self.points[1::2]
            self._pause *= 2
        self._next = now + self._pause
        return self._pause

    def between(self, chore: Callable[[], float]) -> Callable[[], float]:
        """Return *chore*, with a look each time that it is done."""
        return lambda: min(chore(), self.look())

    def end(self, time: float, memory: int) -> None:
        """Let the test end at *time* of the monotonic clock, with *memory* bytes in use."""
        seconds = max(0.0, time - self._start)
        self.points = [point for point in self.points if point[0] < seconds]
        self.points.append((seconds, memory))


def plot(points: Sequence[tuple[float, int]], usage: Usage) -> dict[str, Any]:
    """Return the plot of *points* in the form of `pytest_html.extras`; see `draw`."""
    return {
        "name": None,
        "format_type": "html",
        "content": f'<div class="isolate-memory">{draw(points, usage)}</div>',
        "mime_type": None,
        "extension": None,
    }


def draw(points: Sequence[tuple[float, int]], usage: Usage) -> str:
    """Return an SVG of *points*, seconds and bytes, with a line at the memory cap of *usage*.

    Its peak is the most that the kernel has counted: looks now and then, and a look at the death,
    when some of it is given back already, see less.
    """
    cap = usage.memory_cap
    seconds = max(time for time, _ in points)
    peak = max(usage.memory_peak or 0, *(memory for _, memory in points))
    highest = max(peak, cap or 0) * _HEADROOM or 1

    def place(time: float, memory: float) -> str:
        x = _WIDTH * time / seconds if seconds else 0
        return f"{x:.1f},{_BOTTOM - (_BOTTOM - _TOP) * memory / highest:.1f}"

    line = " ".join(place(time, memory) for time, memory in points)
    title = f"memory: {format_size(peak)}"
    parts = []
    if cap is not None:
        title += f" of {format_size(cap)}"
        start = place(0, cap).replace(",", '" y1="')
        end = place(seconds, cap).replace(",", '" y2="')
        parts.append(
            f'<line x1="{start}" x2="{end}" stroke="#c00" stroke-dasharray="6 4">'
            f"<title>cap {format_size(cap)}</title></line>"
        )
    area = f"{place(0, 0)} {line} {place(seconds, 0)}"
    parts += [
        f'<polygon points="{area}" fill="#8ab4f8" fill-opacity="0.4"/>',
        f'<polyline points="{line}" fill="none" stroke="#1a56c4" stroke-width="1.5"/>',
        f'<text x="0" y="12">{title}</text>',
        f'<text x="0" y="{_HEIGHT - 6}">0 s</text>',
        f'<text x="{_WIDTH}" y="{_HEIGHT - 6}" text-anchor="end">{seconds:.2f} s</text>',
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}"'
        f' viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="11"'
        f' role="img" aria-label="{title}">{"".join(parts)}</svg>'
    )
