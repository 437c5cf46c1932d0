"""Which layers of a model look back over a window of tokens only, so that a server keeps no more than that in its cache.

Source: `load_arch_hparams` in `src/models/*.cpp` and `llama_hparams::set_swa_pattern` of llama.cpp 0.5.0-dev (commit
0c1e57098). Of an architecture that is not named here, and of one whose window llama.cpp does not read (`phi3`), none is
reckoned with, so that a plan errs on the safe side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pillm.devices.ggufheader import Value

PERIODS = {"gemma2": 2, "gemma3": 6, "gemma3n": 5, "olmo2": 4, "cohere2": 4, "gpt-oss": 2}
"""One layer of so many, the last of them, looks at everything, where a file says nothing else."""
_LISTED = frozenset({"gemma4", "granite_swa"})
"""Architectures whose files say it of each layer."""
_USUAL = {"gemma2": 4096}
"""Tokens of a window that a file need not tell."""
_CONFIGS = {"gemma2": "gemma2", "gemma3_text": "gemma3"}
"""Of the `model_type`s that are planned from a config.json, those with windows, and what llama.cpp calls them."""


@dataclass(frozen=True, slots=True)
class Windows:
    """How many tokens back windowed layers look (0: there are none), and which layers those are."""

    tokens: int
    layers: tuple[bool, ...]


def windows_of_file(kept: Mapping[str, Value], arch: str, layers: int) -> Windows:
    """Return the windows that the metadata of a GGUF file tells of, as llama.cpp reads them."""
    tokens = _tokens(kept.get(f"{arch}.attention.sliding_window"), _USUAL.get(arch, 0))
    said = kept.get(f"{arch}.attention.sliding_window_pattern")
    each = said if isinstance(said, tuple) and len(said) >= layers else None
    if not tokens or (arch not in PERIODS and (arch not in _LISTED or each is None)):
        return Windows(0, (False,) * layers)
    if each is not None:
        return Windows(tokens, tuple(bool(one) for one in each[:layers]))
    return Windows(tokens, _pattern(_tokens(said, PERIODS[arch]), layers))


def windows_of_config(config: Mapping[str, Any], layers: int) -> Windows:
    """Return the windows that a model of a `config.json` has once it is exported."""
    arch = _CONFIGS.get(str(config.get("model_type")))
    tokens = _tokens(config.get("sliding_window"), 0)
    if arch is None or not tokens or config.get("sliding_window_pattern") == 1:
        return Windows(0, (False,) * layers)
    return Windows(tokens, _pattern(PERIODS[arch], layers))


def _pattern(period: int, layers: int) -> tuple[bool, ...]:
    return tuple(layer % period != period - 1 for layer in range(layers))


def _tokens(value: Any, otherwise: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 24 else otherwise
