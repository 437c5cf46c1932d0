"""What a device is, as far as memory and speed depend on it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from pillm.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A figure's source and trust: 3 fitted on or taken from measurements, 2 published or typical, 1 estimated."""

    source: str
    trust: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """By what a probe recognises a device: any of the words in what it calls itself, and so much memory (MiB)."""

    model: tuple[str, ...] = ()
    architecture: str = ""
    ram_mib: tuple[int, int] = (0, 1 << 40)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """What a device is, as far as memory and speed depend on it. Speeds that nobody measured are None."""

    name: str
    title: str
    ram_mib: int
    reserve_mib: int = 600
    runtime_mib: int = 80
    context: int = 2048
    ubatch: int = 128
    cores: int | None = None
    ghz: float | None = None
    threads: int | None = None
    threads_batch: int | None = None
    bandwidth_gbps: float | None = None
    """Effective read rate of decode, 10^9 bytes per second."""
    layer_ms: float = 0.0
    token_ms: float = 0.0
    """What a token takes whatever the model."""
    fitted_from_mb: float | None = None
    """The smallest file that the speeds were fitted on, in 10^6 bytes; None: not said."""
    fitted_to_mb: float | None = None
    """The largest one."""
    attention_cycles: float = 0.0
    """Cycles per multiply-add of the attention and core."""
    decode_factor: float = 0.0
    """Cycles per weight in decode over those in prefill; 0: decode is taken to wait for memory alone."""
    decode_error: float | None = None
    """Nine in ten predictions of decode are at most this factor, less 1, away; None: not known."""
    prefill_error: float | None = None
    """The same of prefill."""
    disk_mbps: float | None = None
    """What storage reads, 10^6 bytes per second."""
    cycles: Mapping[str, float] = field(default_factory=dict)
    """Cycles per weight and core in prefill, by storage type."""
    decode_cycles: Mapping[str, float] = field(default_factory=dict)
    """The same in decode, of types where it is not `decode_factor` times that of prefill."""
    compute_bound: frozenset[str] = frozenset()
    """Storage types that decode slower than memory delivers them."""
    quants: tuple[str, ...] = ("Q4_K_M", "IQ4_NL", "Q8_0")
    """Quantisations that suit the device, best first."""
    quants_if_not_256: tuple[str, ...] = ("IQ4_NL", "Q4_0", "Q8_0")
    """The same where rows do not divide by 256, so that K-quants fall back."""
    avoid: tuple[str, ...] = ()
    accelerators: tuple[str, ...] = ("cpu",)
    """What models can be computed on, best first."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """The accelerators that must not be used, with the reason."""
    match: Match | None = None
    """By what a probe recognises it; None: only by its name."""
    small_files: DeviceProfile | None = None
    """How fast files below `small_files_mb` are, which run with fewer threads."""
    small_files_mb: float = 0.0
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """Source and trust by figure; of the tables by `cycles.TYPE` and `decode_cycles.TYPE`."""

    @property
    def calibrated(self) -> bool:
        """Return whether decode speed can be predicted at all."""
        return self.bandwidth_gbps is not None

    def at(self, size: int) -> DeviceProfile:
        """Return the profile with the speeds that hold for a file of so many bytes."""
        return self.small_files if self.small_files is not None and size < self.small_files_mb * 1e6 else self

    def fitted(self, size: int) -> bool:
        """Return whether a file of so many bytes lies within what the speeds were fitted on."""
        low, high = self.fitted_from_mb or 0.0, self.fitted_to_mb or math.inf
        return low <= size / 1e6 <= high

    def cycles_in_decode(self, type_: str) -> float | None:
        """Return the cycles per weight and core in decode; 0 where memory alone is waited for, None where nobody knows."""
        known = self.decode_cycles.get(type_)
        if known is None and self.decode_factor and type_ in self.cycles:
            known = self.decode_factor * self.cycles[type_]
        return known if known is not None or type_ in self.compute_bound else 0.0

    def check_accelerator(self, name: str) -> None:
        """Raise ConfigError where models must not be computed on this accelerator (`cpu`, `vulkan`), with the reason."""
        if name in self.refused:
            raise ConfigError(f"{self.title}: {name} is refused. {self.refused[name]}")
        if name not in self.accelerators:
            raise ConfigError(f"{self.title} has no accelerator {name!r}. It has: {', '.join(self.accelerators)}.")
