"""Numbers as text: digits follow the uncertainty, lopsided intervals show both ends."""

from __future__ import annotations

import pytest

from longboard.quantities import count_text, duration_text, length_label, quantity
from longboard_tasks.sizes import bytes_text


@pytest.mark.parametrize(
    ("numbers", "n", "unit", "text"),
    [
        ((0.842, 0.821, 0.863), 1_200, "share", "0.84 ± 0.02, n=1,200"),
        ((0.84, 0.795, 0.877), 300, "share", "0.84 ± 0.04, n=300"),
        ((0.5012, 0.4981, 0.5043), 100_000, "share", "0.501 ± 0.003, n=100,000"),
        ((1.0, 0.839, 1.0), 20, "share", "1.00 (0.84–1.00), n=20"),
        ((0.0, 0.0, 0.161), 20, "share", "0.00 (0.00–0.16), n=20"),
        ((12.34, 12.1, 12.6), 5, "ms", "12.3 ms ± 0.3, n=5"),
        ((1234.5, 1200, 1260), 5, "ms", "1,230 ms ± 30, n=5"),
        ((27_176, 26_000, 28_300), 5, "ms", "27,200 ms ± 1,200, n=5"),
        ((0.0, 0.0, 0.0), 5, "ms", "0 ms, n=5"),
        ((0.573, 0.573 * (1 - 2e-16), 0.573 * (1 + 2e-16)), 5, "1", "0.573, n=5"),
        ((0.573, 0.57299, 0.57301), 5, "1", "0.573 ± 0.00001, n=5"),
        ((1.5 * 2**30, 1.5 * 2**30, 1.5 * 2**30), 5, "bytes", "1.50 GiB, n=5"),
        ((512 * 2**20, 500 * 2**20, 524 * 2**20), 5, "bytes", "512 MiB ± 12, n=5"),
    ],
)
def test_a_number_reads_with_its_interval_and_n(numbers, n, unit, text):
    assert str(quantity(*numbers, n=n, unit=unit)) == text


def test_context_lengths_have_short_names_only_where_they_are_exact():
    assert [length_label(n) for n in (512, 1024, 4096, 3000, 131072, 2**20)] == [
        "512",
        "1K",
        "4K",
        "3,000",
        "128K",
        "1M",
    ]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (1_536, "1.50 KiB"),
        (19 * 2**20, "19.0 MiB"),
        (2**30 - 2**20, "1,020 MiB"),
        (80 * 2**30, "80.0 GiB"),
        (1.5 * 2**40, "1.50 TiB"),
    ],
)
def test_bytes_take_the_unit_that_fits_them(size, text):
    assert bytes_text(size) == text


def test_counts_and_durations():
    assert [count_text(n) for n in (512, 3_553_728, 134_515_008, 8e9)] == ["512", "3.55M", "135M", "8B"]
    assert [duration_text(s) for s in (2.34, 59, 74, 3_725)] == ["2.3 s", "59 s", "1 min 14 s", "1 h 02 min"]
