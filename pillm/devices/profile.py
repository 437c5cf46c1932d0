"""What a device is, as far as memory and speed depend on it."""

from __future__ import annotations

import math
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Self

from pillm.errors import ConfigError
from pillm.plans import Fact

__all__ = ["DeviceProfile", "Fact", "Match", "this_architecture"]
_SAME = {"arm64": "aarch64", "amd64": "x86_64"}
_ASKED = Fact(source="as asked", trust=3)
_SIZE = re.compile(r",? (?:with )?[\d,]+ [MG]i?B$")
"""The memory in a device's title."""


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
    own_ram: bool = False
    """Whether `ram_mib` is that of the machine pillm runs on, so that it says nothing of another one."""
    reserve_mib: int = 600
    runtime_mib: int = 80
    context: int = 2048
    ubatch: int = 128
    parallel: int = 1
    """Answers that are written at once, each with a context of its own."""
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
    repacked: frozenset[str] = frozenset()
    """Storage types that llama.cpp holds a second time, in the order that this processor's kernels like."""
    swa_full: bool = False
    """Whether windowed layers keep the whole context, as runner `local` does and a server that is told `--swa-full`."""
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
    """Source and trust by figure and for `repacked`; of the tables by `cycles.TYPE` and `decode_cycles.TYPE`."""

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

    def check_memory(self) -> None:
        """Raise ConfigError where the memory is that of this machine, and the device is of another architecture."""
        wanted, here = self.match.architecture if self.match else "", this_architecture()
        if self.own_ram and wanted and wanted != here:
            raise ConfigError(
                f"how much memory {self.name} has is not known: it means the machine that it is planned on, which must be "
                f"{wanted}, and this one is {here}. Say it: --ram MIB, or a profile of your own with "
                f"`extends: {self.name}` and its ram_mib."
            )

    @property
    def kind(self) -> str:
        """Return what such devices are called whatever their memory."""
        return _SIZE.sub("", self.title)

    def with_memory(self, mib: int) -> Self:
        """Return the profile of such a device with so many MiB of memory, by a title that says it."""
        facts = MappingProxyType({**self.facts, "ram_mib": _ASKED})
        return replace(self, ram_mib=mib, own_ram=False, title=f"{self.kind} with {mib:,} MiB", facts=facts)

    def with_whole_windows(self) -> Self:
        """Return the profile of the device where windowed layers keep the whole context."""
        return replace(self, swa_full=True)

    def answering(self, parallel: int) -> Self:
        """Return the profile of the device where so many answers are written at once; raise ConfigError below 1."""
        if parallel < 1:
            raise ConfigError(f"{parallel} answers at once are not possible. Give 1 or more.")
        return replace(self, parallel=parallel)

    def without_repacking(self) -> Self:
        """Return the profile of the device where llama.cpp is told `--no-repack`; how fast it is then, nobody measured."""
        if not self.repacked:
            return self
        return replace(
            self,
            repacked=frozenset(),
            compute_bound=self.compute_bound | self.repacked,
            cycles=_without(self.cycles, self.repacked),
            decode_cycles=_without(self.decode_cycles, self.repacked),
            small_files=self.small_files.without_repacking() if self.small_files else None,
        )


def this_architecture() -> str:
    """Return the architecture of the machine that pillm runs on, as `uname -m` says it on Linux."""
    said = platform.machine()
    return _SAME.get(said.lower(), said)


def _without(table: Mapping[str, float], types: frozenset[str]) -> Mapping[str, float]:
    return MappingProxyType({type_: cost for type_, cost in table.items() if type_ not in types})
