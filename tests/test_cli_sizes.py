"""Bytes as people say them."""

from __future__ import annotations

from pillm.cli.sizes import size_text


def test_sizes_are_said_in_the_unit_that_fits() -> None:
    sizes = [0, 999, 1000, 12_345, 98_765_432, 1_500_000_000, 7 * 10**15]
    assert [size_text(size) for size in sizes] == ["0 B", "999 B", "1.0 kB", "12.3 kB", "98.8 MB", "1.5 GB", "7000.0 TB"]


def test_a_part_is_said_in_the_unit_of_the_whole() -> None:
    assert size_text(5_000_000, 2_000_000_000) == "0.0 GB"
    assert size_text(500_000_000, 2_000_000_000) == "0.5 GB"
