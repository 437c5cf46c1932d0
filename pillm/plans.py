"""What a plan says, and the lengths of the requests that it is asked about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pillm.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """How many tokens a request has: its prompt, of which `prefix` are the same in every request, and its answer."""

    prompt: int
    answer: int
    prefix: int = 0
    estimated: bool = False
    """Whether they were reckoned from characters, not counted in tokens."""

    def __post_init__(self) -> None:
        if self.prompt < 1 or self.answer < 1 or not 0 <= self.prefix <= self.prompt:
            raise ConfigError(
                f"a prompt of {self.prompt} tokens, {self.prefix} of them the same everywhere, and an answer of {self.answer} "
                "are not possible. Give 1 or more of each, and a prefix that is part of the prompt."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Whether a model fits a device and how fast it would be there: arithmetic, nothing was run."""

    model: str
    device: str
    quant: str
    fits: bool
    bytes: int
    memory: dict[str, int]
    """Bytes by purpose: weights, kv_cache, compute, runtime, reserve; and what the device has as `available`."""
    tg_tps: float | None
    pp_tps: float | None
    context: int
    verdict: str
    alternatives: tuple[str, ...] = ()
    basis: Literal["predicted"] = "predicted"
    basis_note: str = ""
    """What weakens the figures: that they are extrapolated; else empty."""
    source: str = ""
    tg_interval: tuple[float, float] | None = None
    """Where nine in ten measured speeds like this one lie; None: not known."""
    pp_interval: tuple[float, float] | None = None
    lengths: Lengths | None = None
    """The request that the times below are for; None: none was asked about."""
    ttft_s: float | None = None
    """Seconds to the first token, with the model loaded and the whole prompt computed."""
    answer_s: float | None = None
    """Seconds to the last token of the answer."""
    ttft_saved_s: float | None = None
    """The same two where the state of the prefix is read from disk."""
    answer_saved_s: float | None = None
    prefix_bytes: int | None = None
    """What a saved prefix takes on disk, beside the file."""
