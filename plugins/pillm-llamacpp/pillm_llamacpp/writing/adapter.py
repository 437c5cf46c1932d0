"""A LoRA or DoRA adapter as peft saves it: what it changes, and the base's rows with it merged in."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pillm_llamacpp.workers.refusal import Refusal
from pillm_llamacpp.writing.shards import FLOATS, Reader, Stored, tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."
_PART = re.compile(r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_magnitude_vector)(?:\.weight)?")
_ENDLESS = re.compile(r"\)[*+{]")
"""A repeated group: with another repetition inside, a short name can keep a search busy for years."""
_REFUSED = {
    # what the settings may not ask for -> what that is, in words
    "fan_in_fan_out": "weights that lie transposed (fan_in_fan_out)",
    "lora_bias": "biases of its own (lora_bias)",
    "modules_to_save": "whole modules beside it (modules_to_save)",
    "trainable_token_indices": "single tokens (trainable_token_indices)",
    "layer_replication": "layers that are used twice (layer_replication)",
    "target_parameters": "parameters outside of modules (target_parameters)",
    "use_qalora": "QALoRA", "use_bdlora": "BD-LoRA", "arrow_config": "Arrow", "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA", "velora_config": "VeLoRA", "mica": "MiCA", "alora_invocation_tokens": "aLoRA",
}  # fmt: skip


class Pair(NamedTuple):
    """What an adapter has for one weight of the base: W + scale * B A; DoRA also a length for each row."""

    a: Stored
    b: Stored
    magnitude: Stored | None
    scale: float


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter's weights by the name of the base's tensor that each changes."""

    folder: Path
    pairs: dict[str, Pair]

    def single_alpha(self) -> float:
        """Return the one alpha that llama.cpp divides by a rank; raise Refusal where a file of its own cannot say it all."""
        if any(pair.magnitude for pair in self.pairs.values()):
            raise Refusal("data", f"{self.folder} is a DoRA, and a file of its own has no place for its lengths. {_MERGED}")
        alphas = {pair.scale * pair.b.shape[1] for pair in self.pairs.values()}
        if max(alphas) - min(alphas) > 1e-6 * max(alphas):
            raise Refusal("data", f"{self.folder} weighs its layers apart, and a file of its own has one weight. {_MERGED}")
        return max(alphas)


class Merge(NamedTuple):
    """The arrays of a pair, float32."""

    a: np.ndarray[Any, Any]
    b: np.ndarray[Any, Any]
    magnitude: np.ndarray[Any, Any] | None
    scale: float

    @classmethod
    def of(cls, pair: Pair, reader: Reader) -> Merge:
        """Return a pair's arrays."""
        magnitude = None if pair.magnitude is None else reader.whole(pair.magnitude).reshape(-1)
        return cls(reader.whole(pair.a), reader.whole(pair.b), magnitude, pair.scale)

    def apply(self, rows: np.ndarray[Any, Any], first: int) -> np.ndarray[Any, Any]:
        """Return the base's rows from `first` on, float32, with the adapter merged in; the sums are peft's."""
        import numpy as np

        own = slice(first, first + len(rows))
        made: np.ndarray[Any, Any] = np.matmul(self.b[own], self.a)
        made *= np.float32(self.scale)
        made += rows
        if self.magnitude is not None:
            lengths = np.sqrt(np.square(made, dtype=np.float64).sum(axis=1)).astype(np.float32)
            made *= (self.magnitude[own] / lengths)[:, None]
        return made


def is_adapter(folder: Path) -> bool:
    """Say whether a folder holds an adapter and no weights of its own."""
    return (folder / CONFIG).is_file() and not any(folder.glob("model*.safetensors"))


def settings_of(folder: Path) -> dict[str, Any]:
    """Return an adapter's settings; raise Refusal where they cannot be read."""
    path = folder / CONFIG
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Refusal("data", f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise Refusal("data", f"{path} cannot be read: it holds no object.")
    return found


def read(folder: Path) -> Adapter:
    """Return an adapter; raise Refusal, saying what to do, where it is of a kind that is not merged here, or damaged."""
    settings = settings_of(folder)
    _check_kind(settings, folder)
    if not (folder / WEIGHTS).is_file():
        pickle = "; its adapter_model.bin is a pickle, which can run code when it is read" if any(folder.glob("*.bin")) else ""
        raise Refusal(
            "unsafe" if pickle else "data", f"{folder} holds no {WEIGHTS}{pickle}. Save the adapter with safetensors."
        )
    parts: dict[str, dict[str, Stored]] = {}
    for name, tensor in tensors(folder / WEIGHTS).items():
        found = _PART.fullmatch(name.removeprefix(_PREFIX))
        if not found or tensor.dtype not in FLOATS:
            raise Refusal("data", f"{folder}: {name} ({tensor.dtype}) is no part of a LoRA of linear layers. {_REMEDY}")
        parts.setdefault(found["module"], {})[found["part"]] = tensor
    pairs = {f"{module}.weight": _pair(module, part, settings, folder) for module, part in parts.items()}
    if not pairs:
        raise Refusal("data", f"{folder / WEIGHTS} holds no weights. Train the adapter again.")
    return Adapter(folder, pairs)


def require_fit(pairs: Mapping[str, Pair], shapes: Mapping[str, tuple[int, ...]], folder: Path) -> None:
    """Raise Refusal where an adapter was made for another base than the one whose tensors have these shapes."""
    for name, pair in pairs.items():
        told = (pair.b.shape[0], pair.a.shape[1])
        if shapes.get(name) != told:
            has = " x ".join(map(str, shapes[name])) if name in shapes else "no such weight"
            raise Refusal(
                "data",
                f"{folder} does not fit its base: it changes {name}, {told[0]} x {told[1]}, and the base has {has}. Name the "
                "right base: -o base=FOLDER",
            )


_MERGED = "Leave out `adapter` to merge it into its base."
_REMEDY = "Merge it with the program that trained it (peft's merge_and_unload), and export the folder that it makes."


def _check_kind(settings: dict[str, Any], folder: Path) -> None:
    kind = str(settings.get("peft_type", "LORA")).upper()
    if kind != "LORA":
        raise Refusal("data", f"{folder} is an adapter of the kind {kind}; only LoRA and DoRA are merged here. {_REMEDY}")
    wrong = [what for name, what in _REFUSED.items() if settings.get(name)]
    if settings.get("bias", "none") != "none":
        wrong.append(f"the base's biases (bias: {settings['bias']})")
    if wrong:
        raise Refusal("data", f"{folder} also trained {wrong[0]}, which is not merged here. {_REMEDY}")


def _pair(module: str, parts: dict[str, Stored], settings: dict[str, Any], folder: Path) -> Pair:
    a, b, magnitude = (parts.get(name) for name in ("lora_A", "lora_B", "lora_magnitude_vector"))
    dora = bool(settings.get("use_dora"))
    if a is None or b is None or dora != (magnitude is not None):
        raise Refusal("data", f"{folder}: the weights for {module} are not complete. Save the adapter again.")
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[0] != b.shape[1]:
        raise Refusal("data", f"{folder}: the weights for {module} are {b.shape} and {a.shape}, which do not multiply.")
    if magnitude is not None and math.prod(magnitude.shape) != b.shape[0]:
        raise Refusal("data", f"{folder}: the lengths for {module} are {magnitude.shape}, not one for each of its rows.")
    alpha = _of_module(settings.get("alpha_pattern"), module, settings.get("lora_alpha", 8))
    rank = b.shape[1]
    return Pair(a, b, magnitude, alpha / math.sqrt(rank) if settings.get("use_rslora") else alpha / rank)


def _of_module(patterns: Any, module: str, otherwise: Any) -> float:
    """Return what peft would use for a module: the first pattern that its name ends with, else the general value."""
    for pattern, value in (patterns or {}).items():
        if _ENDLESS.search(pattern):
            raise Refusal("data", f"the pattern {pattern!r} of {CONFIG} could take for ever to match. {_REMEDY}")
        try:
            if re.match(rf"(.*\.)?({pattern})$", module):
                return float(value)
        except re.error as error:
            raise Refusal("data", f"the pattern {pattern!r} of {CONFIG} cannot be read: {error}") from error
    return float(otherwise)
