"""What a plan says, on what grounds, what it offers instead, and the lengths of the requests that it is asked about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pillm.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A figure's source and trust: 3 fitted on or taken from measurements, 2 published or typical, 1 estimated."""

    source: str
    trust: int


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

    @property
    def tokens(self) -> int:
        """Return the tokens of context that such a request takes."""
        return self.prompt + self.answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Alternative:
    """What could be done instead, and what it would bring; as text it is a line for a person."""

    what: str
    """What to change: a quantisation, a context, a board, a head, a student."""
    device: str
    quant: str
    context: int
    bytes: int
    """Of the file."""
    tg_tps: float | None
    pp_tps: float | None
    fits: bool
    extrapolated: bool = False
    """Whether its speeds lie outside what they were fitted on."""
    tight: bool = False
    """Whether it fits only where the system takes pages of the file back."""

    def __str__(self) -> str:
        pace = f", about {self.tg_tps:g} tokens per second" if self.tg_tps else ""
        far, tight = ", extrapolated" if pace and self.extrapolated else "", ", tight" if self.tight else ""
        return f"{self.what}: {size_text(self.bytes)}{pace}{far}{tight}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Whether a model fits a device and how fast it would be there: arithmetic, nothing was run."""

    model: str
    device: str
    quant: str
    fits: bool
    """Whether it can run there at all, tightly too."""
    bytes: int
    memory: dict[str, int]
    """Bytes by purpose: weights, repacked (their copy in another order), kv_cache, compute, runtime, reserve; and what the
    device has as `available`."""
    tg_tps: float | None
    pp_tps: float | None
    context: int
    """Tokens, of each answer where several are written at once."""
    verdict: str
    alternatives: tuple[Alternative, ...] = ()
    basis: Literal["predicted"] = "predicted"
    basis_note: str = ""
    """What weakens the figures: that they are extrapolated, or estimates; else empty."""
    unknown: str = ""
    """Why no decode speed is told; else empty."""
    sources: dict[str, Fact] = field(default_factory=dict)
    """On what `memory`, `prefill` and `decode` rest, as far as they are known: the weakest of what each is made of."""
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
    parallel: int = 1
    """Answers that are written at once: the memory is for so many, the speeds and times are of one alone."""
    prefix_bytes: int | None = None
    """What a saved prefix takes on disk, beside the file."""
    tight: bool = False
    """Whether it fits only where the system takes back `reclaimable` pages of the file: it loads slower then."""
    reclaimable: int = 0
    """Bytes of `memory` that the system may take back: the file's pages of weights that are held in another order too."""

    @property
    def room(self) -> str:
        """Return whether it fits, in a word: yes, tight or no."""
        return "tight" if self.tight else "yes" if self.fits else "no"

    @property
    def needs(self) -> int:
        """Return the bytes that the model cannot do without, beside what the system keeps."""
        used = sum(size for purpose, size in self.memory.items() if purpose not in ("available", "reserve"))
        return used - self.reclaimable

    @property
    def extrapolated(self) -> bool:
        """Return whether the speeds lie outside what they were fitted on."""
        return self.basis_note.startswith("extrapolated")

    @property
    def told(self) -> dict[str, Fact]:
        """Return the sources of the speeds that are told, and of the memory."""
        unknown = {name for name, speed in (("prefill", self.pp_tps), ("decode", self.tg_tps)) if not speed}
        return {name: fact for name, fact in self.sources.items() if name not in unknown}

    @property
    def source(self) -> str:
        """Return on what the speeds rest, as text."""
        speeds = [f"{name}: {fact.source} (trust {fact.trust} of 3)" for name, fact in self.told.items() if name != "memory"]
        return "; ".join(speeds) or "speed: not calibrated"


def size_text(size: int) -> str:
    """Return a size in decimal megabytes or gigabytes, as file listings and memory cards say it."""
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
