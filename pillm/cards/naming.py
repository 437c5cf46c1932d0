"""Names of model files as llama.cpp's world reads them: BaseName-SizeLabel-FineTune-Version-Encoding.

Source: "GGUF naming convention" in ggml's docs/gguf.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pillm.errors import DataError
from pillm.intake.storedtensors import stored_tensors

VERSION = re.compile(r"v\d+(?:\.\d+)*")
_SIZE = re.compile(r"(?:\d+x)?\d+(?:\.\d+)?(?:[MBTQmbtq]|K)")
"""A small k counts tokens: Phi-3-mini-4k is a context length."""
_RELEASE = re.compile(r"v?\d+(?:\.\d+)*", re.IGNORECASE)
_NEAR = 0.25
"""A base's own size label serves its student where the weights differ by less; else the label is counted."""
_POWERS = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12, "Q": 1e15}


@dataclass(frozen=True, slots=True)
class ModelName:
    """The parts of a model's name."""

    basename: str
    size_label: str | None = None
    finetune: str | None = None
    version: str = "v1.0"

    @property
    def stem(self) -> str:
        """Return the name of its files without the encoding."""
        parts = (self.basename, self.size_label, self.finetune, self.version)
        return "-".join(slug(part) for part in parts if part)

    @property
    def title(self) -> str:
        """Return the name as people read it."""
        words = " ".join(part for part in (self.basename, self.size_label, self.finetune) if part).replace("-", " ").split()
        return " ".join(word.capitalize() if word.islower() else word for word in words)


def slug(text: str) -> str:
    """Return a text as part of a file name: letters, digits, dots, dashes and underscores."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:64] or "model"


def split_name(model: str) -> ModelName:
    """Return the parts of a published model's name, such as `Qwen/Qwen2.5-0.5B-Instruct`."""
    words = [word for word in model.partition("@")[0].rpartition("/")[2].split("-") if word]
    size = next((word for word in words[1:] if _SIZE.fullmatch(word)), None)
    place = words.index(size) if size else next((at for at, word in enumerate(words) if VERSION.fullmatch(word)), len(words))
    rest = [word for word in words[place:] if word != size and not _RELEASE.fullmatch(word)]
    basename = "-".join(words[:place]) or slug(model)
    return ModelName(basename, f"{size[:-1]}{size[-1].upper()}" if size else None, "-".join(rest) or None)


def student_name(label: str, base: str | None, weights: int | None, version: str = "v1.0") -> ModelName:
    """Return the name of a student: of its base's family, its own size, tuned to what its label says."""
    size = size_label(weights) if weights else None
    if base is None:
        return ModelName(slug(label), size, None, version)
    family = split_name(base)
    if family.size_label and weights and _near(family.size_label, weights):
        size = family.size_label
    return ModelName(slug(family.basename), size, slug(label), version)


def _near(label: str, weights: int) -> bool:
    count, _, each = label.rpartition("x")
    said = float(each[:-1]) * _POWERS[each[-1]] * int(count or 1)
    return abs(said - weights) <= _NEAR * weights


def size_label(weights: int) -> str:
    """Return a number of weights as size labels say it: 2.0M, 494M, 1.2B."""
    larger = [letter for letter, power in _POWERS.items() if weights > power]
    letter = larger[-1] if larger else "K"
    scaled = weights / _POWERS[letter]
    digits = max(2 - len(str(round(scaled)).lstrip("0")), 0)
    return f"{scaled:.{digits}f}{letter}"


def weights_of(folder: Path) -> int | None:
    """Return how many weights the safetensors files of a folder hold; None where they do not say it soundly."""
    try:
        return sum(tensor.weights for tensor in stored_tensors(folder).values()) or None
    except DataError:
        return None
