"""The folder that a training starts from: its base, or a student made of the base that is smaller or new.

Such a student is a whole model folder, so that whatever reads the base (tokenizer, weights, number format) reads it the same.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_hf.models.hub import TOKENIZER_FILES
from pillm_hf.models.loading import load_config, quiet
from pillm_hf.options.finetuning import FineTuning
from pillm_hf.options.full import FullOptions, file_hash
from pillm_hf.rows.chat import Chat
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import Encoded, encode, prompts_of
from pillm_hf.shrinking import cutting as shrinking
from pillm_hf.shrinking import shapes, vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

FOLDER = ".start"
_HARD = [
    *("".join(map(chr, range(place, place + 32))) for place in range(1, 0x250, 32)),
    "\r\n\t  œ’… 12 345 😀👩‍🚀 日本語 العربية \u200b\ufeff",
]
_IRREGULAR = (
    "the layers {layers} are not of the kinds that {kind} has at these places; llama.cpp tells kinds by place, so an export "
    "may be refused. Keep whole periods of the base's pattern (layer_types in config.json)."
)


@dataclass(frozen=True, slots=True)
class Start:
    """A model folder to train, and what to report of how it was made."""

    folder: Path
    facts: dict[str, Any] = field(default_factory=dict)


def start(options: FineTuning, data: pillm.TrainingData, base: Path, out: Path, progress: pillm.Progress) -> Start:
    """Return what to train: the base itself, or a student made of it in a hidden folder of `out`.

    It is made anew each time, for the same options and rows give the same bytes, and a kill may have left half of it.
    Raises ConfigError where the base cannot be made into such a student and DataError where it cannot be read.
    """
    if not (isinstance(options, FullOptions) and options.reshapes):
        return Start(base)
    require_possible(options, base)
    folder = out / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    before = load_config(base)
    trimmed = _trimmed(options, data, base, before.to_dict(), progress) if options.trim_vocabulary else None
    layers = _layers(options, before.to_dict())
    after = _config(options, before, layers, trimmed)
    if not shrinking.is_regular(after):
        progress.warn(_IRREGULAR.format(layers=layers, kind=after.model_type))
    if options.init == "random":
        model = shrinking.from_scratch(after, data.seed if options.seed is None else options.seed)
    else:
        model = shrinking.cut(base, after, layers, trimmed.kept if trimmed else None)
    with quiet():
        model.save_pretrained(folder)
    _copy_settings(base, folder, trimmed)
    if trimmed:
        vocabulary.write_kept(trimmed, int(before.vocab_size), out)
        _prove(base, folder, trimmed, options, data)
    facts = _facts(options, before, after, layers)
    progress.note(_told(facts))
    return Start(folder, {"start": facts})


def require_possible(options: FullOptions, base: Path) -> None:
    """Raise ConfigError where the base cannot be made into the student that is asked for, and DataError without its files.

    No weight is read.
    """
    shape = pillm.Checkpoint(path=base).config
    shapes.layer_count(shape)
    shapes.with_sizes(shape, options.config)
    _layers(options, shape)
    if options.trim_vocabulary:
        vocabulary.read_tokenizer(base)
    for path in options.vocabulary_files:
        file_hash(path)


def planned_shape(options: FullOptions, base: Path) -> dict[str, Any]:
    """Return the student's config.json as far as it can be told without the rows; raise like `require_possible`."""
    given = pillm.Checkpoint(path=base).config
    shape = shapes.with_sizes(shapes.with_layers(given, _layers(options, given)), options.config)
    if options.trim_vocabulary and options.vocabulary_size:
        filled = -(-options.vocabulary_size // vocabulary.MULTIPLE) * vocabulary.MULTIPLE
        shape["vocab_size"] = min(int(given["vocab_size"]), filled)
    return shape


def _layers(options: FullOptions, shape: Mapping[str, Any]) -> list[int]:
    count = shapes.layer_count(shape)[1]
    return shapes.chosen_layers(count if options.keep_layers is None else options.keep_layers, count)


def _config(
    options: FullOptions, before: PreTrainedConfig, layers: Sequence[int], trimmed: vocabulary.Trimmed | None
) -> PreTrainedConfig:
    shape = shapes.with_sizes(shapes.with_layers(before.to_dict(), layers), options.config)
    if trimmed:
        shape = {**vocabulary.renamed_ids(shape, trimmed.new_ids), "vocab_size": len(trimmed.kept)}
    return shrinking.configured(before, shape)


def _copy_settings(base: Path, folder: Path, trimmed: vocabulary.Trimmed | None) -> None:
    """Write the tokenizer's files and generation_config.json."""
    path = base / "generation_config.json"
    if path.is_file():
        settings = json.loads(path.read_text("utf-8"))
        settings = vocabulary.renamed_ids(settings, trimmed.new_ids) if trimmed else settings
        (folder / path.name).write_text(json.dumps(settings, indent=2) + "\n", "utf-8")
    if trimmed:
        vocabulary.write_tokenizer(trimmed, base, folder)
        return
    for name in TOKENIZER_FILES:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)


def _trimmed(
    options: FullOptions, data: pillm.TrainingData, base: Path, shape: Mapping[str, Any], progress: pillm.Progress
) -> vocabulary.Trimmed:
    """Return the tokenizer with the tokens of every row, probe and file, and those that the base's settings name."""
    tokenizer, chat = vocabulary.read_tokenizer(base), load_chat(base)
    progress.start(None, "texts", "choosing the tokens to keep")
    path = base / "generation_config.json"
    used = vocabulary.named_ids(shape, json.loads(path.read_text("utf-8")) if path.is_file() else {})
    for row in _texts(options, data, chat):
        used.update(row.ids)
    return vocabulary.trim(tokenizer, used, options.vocabulary_size or 0)


def _texts(options: FullOptions, data: pillm.TrainingData, chat: Chat) -> Iterator[Encoded]:
    """Yield whatever the student will read and write, encoded: rows of any length, probes, lines of further files."""
    for rows in (data.train, data.validation, data.calibration):
        yield from encode(rows, data.contract, chat, max_length=1 << 30).rows
    yield from prompts_of(data.probes, data.contract, chat, warn=lambda _: None)  # the training itself tells of those refused
    for path in options.vocabulary_files:
        for number, text in vocabulary.texts_of(path):
            yield Encoded(f"{path}:{number}", (), text, chat.encode([text])[0], 0, 0)


def _prove(base: Path, folder: Path, trimmed: vocabulary.Trimmed, options: FullOptions, data: pillm.TrainingData) -> None:
    """Raise BackendError unless every text has the same tokens as under the base, and any other text survives."""
    old, new, ids = load_chat(base), load_chat(folder), trimmed.new_ids
    for row in _texts(options, data, old):
        if new.encode([row.text])[0] != [ids.get(index) for index in row.ids]:
            raise pillm.BackendError(
                f"trim_vocabulary: {row.id} has other tokens under the trimmed vocabulary than under the base's; nothing was "
                "trained. This tokenizer is of a kind that cannot be trimmed: leave trim_vocabulary out."
            )
    texts = [[chat.decode(ids) for ids in chat.encode(_HARD)] for chat in (old, new)]
    if texts[0] != texts[1]:
        raise pillm.BackendError(
            "trim_vocabulary: a text that is none of the task's is read back otherwise under the trimmed vocabulary; nothing "
            "was trained. Leave trim_vocabulary out."
        )


def _facts(options: FullOptions, before: PreTrainedConfig, after: PreTrainedConfig, layers: Sequence[int]) -> dict[str, Any]:
    count = int(after.num_hidden_layers)
    return {
        "init": options.init,
        "layers": {"before": before.num_hidden_layers, "after": count, "kept": list(layers) if options.init == "base" else []},
        "vocabulary": {"before": before.vocab_size, "after": after.vocab_size},
        "hidden_size": {"before": before.hidden_size, "after": after.hidden_size},
        "head_bytes": {"before": _head_bytes(before), "after": _head_bytes(after)},
    }


def _head_bytes(config: PreTrainedConfig) -> int:
    """Return the bytes of the output head in 16 bit, all of which are read for each token that is written."""
    return 2 * int(config.vocab_size) * int(config.hidden_size)


def _told(facts: Mapping[str, Any]) -> str:
    told = {"layers": "layers", "hidden_size": "hidden size", "vocabulary": "vocabulary", "head_bytes": "bytes of the head"}
    changes = [(name, facts[key]["before"], facts[key]["after"]) for key, name in told.items()]
    said = [f"{name} {old:,} -> {new:,}" for name, old, new in changes if old != new]
    made = "random weights" if facts["init"] == "random" else "the base's weights"
    return f"the student starts from {made}" + (": " + ", ".join(said) if said else "") + "."
