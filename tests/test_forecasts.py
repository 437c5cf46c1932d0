"""What a training will take, in words and as a verdict."""

from __future__ import annotations

import pytest

from pillm.forecasts import TrainingForecast

GIB = 2**30


@pytest.mark.parametrize(
    ("needed", "free", "fits", "memory"),
    [
        (3 * GIB, 4 * GIB, True, "3.0 GiB of memory (4.0 GiB are free)"),
        (5 * GIB, 4 * GIB, False, "5.0 GiB of memory (4.0 GiB are free)"),
        (5 * GIB, None, True, "5.0 GiB of memory"),
        (None, 4 * GIB, True, "an unknown amount of memory (4.0 GiB are free)"),
    ],
)
def test_a_training_fits_unless_it_is_known_to_need_more_than_is_free(
    needed: int | None, free: int | None, fits: bool, memory: str
) -> None:
    forecast = TrainingForecast(rows=10, steps=5, tokens=1000, memory_bytes=needed, free_bytes=free)
    assert (forecast.fits, forecast.memory) == (fits, memory)
