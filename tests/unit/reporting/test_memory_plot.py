"""A plot has all that was seen, within its frame, and the cap."""

from __future__ import annotations

from dataclasses import replace
import re
from xml.etree import ElementTree as ET

from pytest_isolate.reporting.memory_plot import Timeline
from pytest_isolate.reporting.memory_plot import draw
from pytest_isolate.sandbox.outcome import Usage
from pytest_isolate.wire.real_os import RealOS

MIB = 1 << 20
CAPPED = Usage(wall_seconds=2.0, memory_cap=60 * MIB)


def heights(svg: str) -> list[float]:
    points = re.search(r'<polyline points="([^"]*)"', svg)
    assert points is not None
    return [float(point.split(",")[1]) for point in points[1].split()]


def test_plot_is_an_image_that_names_memory_and_cap() -> None:
    svg = draw([(0.0, 0), (1.0, 30 * MIB), (2.0, 60 * MIB)], CAPPED)

    ET.fromstring(svg)  # noqa: S314  # our own
    assert "memory: 60.0 MiB of 60.0 MiB" in svg
    assert "2.00 s" in svg
    cap = re.search(r'y1="([^"]*)"', svg)
    assert cap is not None
    assert heights(svg)[-1] == float(cap[1])
    assert heights(svg) == sorted(heights(svg), reverse=True)


def test_plot_names_the_peak_that_the_kernel_counted_where_no_look_saw_it() -> None:
    counted = replace(CAPPED, memory_peak=60 * MIB)
    points = [(0.0, 0), (1.0, 58 * MIB)]

    assert "memory: 60.0 MiB of 60.0 MiB" in draw(points, counted)
    assert "memory: 58.0 MiB of 60.0 MiB" in draw(points, CAPPED)


def test_plot_without_a_cap_time_or_memory_is_one_too() -> None:
    for points in ([(0.0, 0)], [(0.0, 0), (0.0, MIB)]):
        svg = draw(points, Usage(wall_seconds=0.0))
        ET.fromstring(svg)  # noqa: S314  # our own
        assert "stroke-dasharray" not in svg
        assert all(0 <= height <= 130 for height in heights(svg))


def test_long_test_is_looked_at_less_often() -> None:
    timeline = Timeline(lambda: 0)
    timeline.points = [(number / 20, number) for number in range(399)]

    pause = timeline.look()

    assert pause == 0.1
    assert [memory for _, memory in timeline.points[:3]] == [0, 2, 4]


def test_look_before_its_time_costs_nothing() -> None:
    looks: list[int] = []

    def usage() -> int:
        looks.append(1)
        return 0

    timeline = Timeline(usage)

    timeline.look()
    assert 0 < timeline.look() <= 0.05
    assert len(looks) == 1


def test_memory_that_is_gone_is_no_error() -> None:
    def gone() -> int:
        raise OSError

    timeline = Timeline(gone)
    timeline.look()
    timeline.end(0.0, MIB)

    assert timeline.points == [(0.0, MIB)]


def test_what_is_seen_after_the_end_is_not_the_tests() -> None:
    timeline = Timeline(lambda: 0)
    timeline.points = [(0.0, 1), (5000.0, 2)]

    timeline.end(RealOS.monotonic() + 1000, 3)

    assert [memory for _, memory in timeline.points] == [1, 3]
