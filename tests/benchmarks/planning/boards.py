"""The fits of each board: which figures, on which rows, and what is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from types import MappingProxyType

from pillm.devices.profile import DeviceProfile
from tests.benchmarks.planning.fitting import fit_decode, fit_prefill
from tests.benchmarks.planning.rows import Row, rows_of

PI4 = DeviceProfile(
    name="pi4", title="Raspberry Pi 4", ram_mib=8000, cores=4, ghz=1.8, threads=4, threads_batch=4,
    bandwidth_gbps=3.6, layer_ms=0.2, decode_factor=1.0,
)  # fmt: skip
"""The sweep does not name its board's clock: 1.8 GHz is that of boards sold since 2021."""
PI5 = DeviceProfile(
    name="pi5", title="Raspberry Pi 5", ram_mib=8000, cores=4, ghz=2.4, threads=2, threads_batch=4, bandwidth_gbps=11.5,
    decode_cycles=MappingProxyType({"Q3_K": 0.3, "Q4_K": 0.25, "Q5_0": 0.3}),
)  # fmt: skip
PI5_THREADS = (2, 3, 4)
"""The thread counts with enough rows to fit."""


def fit_pi4(rows: Sequence[Row], profile: DeviceProfile) -> DeviceProfile:
    """Return the profile fitted on rows of a Pi 4: prefill first, whose cycles decode shares."""
    return fit_decode(rows, fit_prefill(rows, profile), ("bandwidth_gbps", "layer_ms", "decode_factor"))


def fit_pi5(rows: Sequence[Row], profile: DeviceProfile) -> DeviceProfile:
    """Return the profile with the read rate at one thread count, and the cycles of types that it is not repacked for."""
    seen = {type_ for row in rows for type_ in row.load.weights}
    costs = [f"decode_cycles.{type_}" for type_ in profile.decode_cycles if type_ in seen]
    return fit_decode(rows, profile, ("bandwidth_gbps", *costs))


@lru_cache(maxsize=1)
def pi4() -> DeviceProfile:
    """Return the Pi 4 as fitted on every row of the clean sweep."""
    return fit_pi4(rows_of("pi4"), PI4)


@lru_cache(maxsize=4)
def pi5(threads: int) -> DeviceProfile:
    """Return the Pi 5 at one thread count: the cycles as the rows of two threads show them, the read rate its own."""
    if threads == PI5.threads:
        return fit_pi5(pi5_rows(threads), PI5)
    return fit_decode(pi5_rows(threads), replace(pi5(2), threads=threads), ("bandwidth_gbps",))


def pi5_rows(threads: int) -> list[Row]:
    """Return the rows of a Pi 5 at one thread count."""
    return [row for row in rows_of("pi5") if row.threads == threads]
