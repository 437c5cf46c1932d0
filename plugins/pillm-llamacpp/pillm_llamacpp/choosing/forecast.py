"""What a search will take, before it begins: how many files, how much disk, and from the first file on how long."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pillm
from pillm_llamacpp.choosing import candidates
from pillm_llamacpp.choosing.losses import Matrix, groups
from pillm_llamacpp.choosing.moments import BLOCK
from pillm_llamacpp.measuring.texts import CHOICE, compared, readable

SETTLING = 4
"""Files that say whether the importance matrix and the rounding are used."""
_REFERENCE = 256 * 1024 * 1024
_SAME_INPUT = {"attn_k": "attn_q", "attn_v": "attn_q", "ffn_gate": "ffn_up", "ffn_gate_exps": "ffn_up_exps"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a search takes at the most."""

    files: int
    """That are made and measured."""
    least: int
    """Bytes of disk without which it cannot be done: the largest file of its own beside the full one."""
    most: int
    """Bytes with which no file has to be made twice."""

    def thrifty(self, folder: Path) -> bool:
        """Say whether files must go as soon as they are measured; raise StorageError where the disk holds not even one.

        What an interrupted search left in the folder counts as free: it is used, or removed.
        """
        free = shutil.disk_usage(folder).free + sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if free < self.least:
            raise pillm.StorageError(
                f"choosing a quantisation needs {_megabytes(self.least)} MB in {folder} for the files that it tries, and "
                f"{_megabytes(free)} MB are free. Nothing was tried yet and nothing is lost: free some space, choose another "
                "folder with --out, or name the quants yourself."
            )
        return free < self.most

    def told(self, measured: int, *, thrifty: bool) -> str:
        """Return the forecast in words."""
        known = f"; {measured} measurements of an interrupted search are taken up" if measured else ""
        again = " (there is room for one at a time: those that ship are made twice)" if thrifty else ""
        disk = self.least if thrifty else self.most
        return (
            f"the search makes and measures at most {self.files} files, {_megabytes(disk)} MB of disk at a time{again}{known}."
        )


class Pace:
    """Says how long a search will take as soon as its first file was measured."""

    def __init__(self, files: int, progress: pillm.Progress) -> None:
        """Expect so many files."""
        self._files, self._progress, self._told = files, progress, False

    def __call__(self, seconds: float) -> None:
        """Take note of what a file took."""
        if not self._told:
            self._told = True
            whole = seconds * self._files
            about = f"{whole / 3600:.1f} hours" if whole >= 5400 else f"{whole / 60:.0f} minutes" if whole >= 90 else "a minute"
            self._progress.note(
                f"the first file took {seconds:.1f} s, so the {self._files} at most that are to come take about {about}; "
                "the scores of the best come on top. Interrupted, the same command goes on; fewer probes or rows are faster."
            )


def forecast(matrices: Sequence[Matrix], sizes: Sequence[int], full: int, tuning: int, *, fitted: bool) -> Forecast:
    """Return what a search takes: `sizes` of the files by name, `full` bytes of the full file, `tuning` files for the types.

    With no tuning files nothing is searched for.
    """
    if not tuning:
        return Forecast(files=len(sizes) + SETTLING, least=max(sizes), most=sum(sizes) + max(sizes))
    # a probe holds all but a few tensors as the full file does
    moments = moment_bytes(matrices)
    files = tuning + 2 * len(sizes) + fitted
    most = full + moments + 2 * sum(sizes) + fitted * max(sizes)
    return Forecast(files=files, least=full + moments, most=most)


def moment_bytes(matrices: Sequence[Matrix]) -> int:
    """Return the bytes of the activations' products, each kept once for the weights that share an input."""
    inputs = {}
    for matrix in matrices:
        front, _, part = matrix.name.removesuffix(".weight").rpartition(".")
        inputs[front, _SAME_INPUT.get(part, part)] = matrix.columns
    blocks = [(columns // BLOCK, columns % BLOCK) for columns in inputs.values()]
    return sum(4 * (whole * BLOCK * BLOCK + rest * rest) for whole, rest in blocks)


def foretold(
    config: Mapping[str, Any], profile: pillm.DeviceProfile, probes: int, rows: tuple[int, int], most: int | None = None
) -> pillm.ExportForecast | None:
    """Return what an export that chooses will take of a student that is not trained yet, by its `config.json`.

    `rows` are its validation rows and about how many tokens they have. None for a shape without the usual keys.
    """
    found = _matrices(config)
    if not found:
        return None
    weights = sum(matrix.weights for matrix in found)
    quants = candidates.quantisations(profile, {matrix.columns for matrix in found})
    sizes = [candidates.stored(candidates.base(quant), weights) for quant in quants]
    if not sizes:
        return None
    types = {type_ for matrix in found for type_ in candidates.tensor_types(profile, matrix.columns)}
    tuning = len(groups(found, probes)) + len(types) + SETTLING if probes else 0
    whole = forecast(found, sizes, 2 * weights, tuning, fitted=True)
    count, tokens = rows
    each = tokens / max(1, count)
    read = compared([(max(1, int(each / 2)), int(each))] * count, readable(2 * weights), replace(CHOICE, most=most))
    # the file in full precision, and what it says of the conversations, lie beside
    return pillm.ExportForecast(
        files=whole.files, tokens=int(read * each) * whole.files, disk_bytes=2 * weights + _REFERENCE + whole.most
    )


def _matrices(config: Mapping[str, Any]) -> tuple[Matrix, ...]:
    """Return the matrices of a decoder of the usual shape; none where the config does not tell them."""
    told = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    values = [(told or {}).get(name) for name in names]
    if not all(isinstance(value, int) and value > 0 for value in values):
        return ()
    hidden, inner, layers, heads, vocabulary = (int(value) for value in values)  # type: ignore[arg-type]
    wide = heads * int((told or {}).get("head_dim") or hidden // heads)
    keys = wide * int((told or {}).get("num_key_value_heads") or heads) // heads
    parts = {
        "attn_q": (hidden, wide), "attn_k": (hidden, keys), "attn_v": (hidden, keys), "attn_output": (wide, hidden),
        "ffn_gate": (hidden, inner), "ffn_up": (hidden, inner), "ffn_down": (inner, hidden),
    }  # fmt: skip
    tables = ("token_embd",) if config.get("tie_word_embeddings") else ("token_embd", "output")
    found = [Matrix(name=f"{name}.weight", columns=hidden, weights=hidden * vocabulary) for name in tables]
    for layer in range(layers):
        for name, (columns, lines) in parts.items():
            found.append(Matrix(name=f"blk.{layer}.{name}.weight", columns=columns, weights=columns * lines))
    return tuple(found)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f}" if size >= 10e6 else f"{size / 1e6:.1f}"
