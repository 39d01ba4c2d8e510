"""Sizes mean what systemd and the kernel mean by them."""

from __future__ import annotations

import pytest

from pytest_isolate.policy.sizes import format_size
from pytest_isolate.policy.sizes import parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("104857600", 104_857_600),
        ("1K", 1024),
        ("1KiB", 1024),
        ("1KB", 1000),
        ("100M", 100 * 1024**2),
        ("100MiB", 100 * 1024**2),
        ("100MB", 100 * 1000**2),
        ("2G", 2 * 1024**3),
        ("2GB", 2 * 1000**3),
        ("1T", 1024**4),
        ("1TiB", 1024**4),
        ("1TB", 1000**4),
        ("100m", 100 * 1024**2),
        ("100mib", 100 * 1024**2),
        ("100 MiB", 100 * 1024**2),
        ("  100M\n", 100 * 1024**2),
        ("1.5G", 3 * 512 * 1024**2),
        ("0.1KB", 100),
    ],
)
def test_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lots",
        "M",
        "-1",
        "-1M",
        "1.5",
        "1e6",
        "1P",
        "1B",
        "1 0M",
        "1.M",
        "1_0",
        "0x10",
        "\u0661M",
    ],
)
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a size; write bytes or a number with K, M, G, T,"):
        parse_size(text)


def test_fraction_of_a_large_size_is_exact() -> None:
    assert parse_size("9007.199254740993TB") == 9_007_199_254_740_993


def test_part_of_a_byte_is_cut_off() -> None:
    assert parse_size("0.0009K") == 0


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (100 * 1024**2, "100.0 MiB"),
        (100 * 1024**2 + 4096, "100.0 MiB"),
        (1024**2 - 1, "1.0 MiB"),
        (1024**3, "1.0 GiB"),
        (3 * 512 * 1024**2, "1.5 GiB"),
        (5000 * 1024**4, "5000.0 TiB"),
    ],
)
def test_size_is_written_to_one_decimal(size: int, text: str) -> None:
    assert format_size(size) == text
