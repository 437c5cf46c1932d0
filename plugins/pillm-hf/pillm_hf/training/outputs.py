"""Write what a training leaves behind: adapter, merged model, tokenizer, contract, probes, calibration and log."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pillm
from pillm_hf.models.adapters import write_base
from pillm_hf.models.hub import TOKENIZER_FILES, Source
from pillm_hf.models.loading import quiet
from pillm_hf.options.finetuning import FineTuning
from pillm_hf.rows.chat import Chat
from pillm_hf.rows.text import Encoded, Encoding
from pillm_hf.training.trainlog import Log

CALIBRATION_ROWS = 256
"""Rows of the training that an importance matrix is computed from at most; more made no difference (llama.cpp PR 4930)."""


def write_contract(contract: pillm.Contract, chat: Chat, out: Path) -> None:
    """Write contract.json: the run's contract completed by the student's template, special tokens and stop token."""
    named = {str(token) for token in chat.tokenizer.special_tokens_map.values() if isinstance(token, str)}
    ids = {str(token): index for index, token in chat.tokenizer.added_tokens_decoder.items() if token.special}
    told = {token: index for token, index in ids.items() if token in named or token in chat.template}
    stop = [chat.end_of_turn.token, *(token for token, index in ids.items() if index in chat.stop_ids)]
    contract.with_student(template=chat.template, special_tokens=told, stop_tokens=tuple(dict.fromkeys(stop))).save(
        out / "contract.json"
    )


def write_probes(rows: Iterable[Encoded], out: Path) -> None:
    """Write probes.jsonl: rendered conversations and the ids that the trainer gave them."""
    _write_lines(out / "probes.jsonl", (_probe(row) for row in rows))


def write_calibration(
    calibration: Sequence[Encoded], validation: Iterable[Encoded], train: Sequence[Encoded], out: Path
) -> None:
    """Write calibration.jsonl: conversations for an importance matrix, and validation ones to compare quantisations on.

    Where no rows were set aside for calibration, some of the training's serve, taken evenly from all of it.
    """
    spread = train[:: -(-len(train) // CALIBRATION_ROWS) or 1]
    sides = {"calibration": calibration, "train": () if calibration else spread, "validation": validation}
    _write_lines(out / "calibration.jsonl", (_rendered(row, side) for side, rows in sides.items() for row in rows))


def save_adapter(model: Any, source: Source, options: FineTuning, out: Path, weights: dict[str, Any] | None = None) -> Path:
    """Write the trained adapter to `adapter/`, its base named as the options name it; the model's own weights, or these."""
    folder = out / "adapter"
    with quiet():
        model.save_pretrained(folder, state_dict=weights)
    (folder / "README.md").unlink(missing_ok=True)  # a model card template that nobody filled in
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text("utf-8"))
    settings |= {"base_model_name_or_path": options.base, "revision": source.commit or None}
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", "utf-8")
    write_base(folder, options.base, source.fetch())
    return folder


def save_student(model: Any, chat: Chat, out: Path, weights: dict[str, Any] | None = None) -> None:
    """Write the merged model, its own weights or these, and the base's tokenizer files byte for byte."""
    from transformers import GenerationConfig

    ends = {"eos_token_id": chat.end_of_turn.id, "pad_token_id": chat.pad_id}
    model.config.eos_token_id = chat.end_of_turn.id
    model.generation_config = GenerationConfig(**ends)
    with quiet():
        model.save_pretrained(out, state_dict=weights)
    given = chat.folder / "generation_config.json"
    kept = json.loads(given.read_text("utf-8")) if given.is_file() else {}
    (out / "generation_config.json").write_text(json.dumps({**kept, **ends}, indent=2) + "\n", "utf-8")
    for name in TOKENIZER_FILES:
        if (chat.folder / name).is_file():
            shutil.copyfile(chat.folder / name, out / name)
    for name in ("config.json", "tokenizer_config.json"):
        _forget_own_code(out / name)


def _forget_own_code(path: Path) -> None:
    """Take a hub's own Python out of a file: what was trained are classes of transformers, and no reader shall run more."""
    settings = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    if settings.pop("auto_map", None):
        path.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", "utf-8")


def write_log(options: pillm.Trainer, log: Log, train: Encoding, facts: dict[str, Any], out: Path) -> None:
    """Write training.json: options, what was left out, the loss log, and the machine's part."""
    import peft
    import torch
    import transformers

    value = {
        "options": options.options(),
        "rows": len(train.rows),
        "rows_left_out": dict(train.left_out),
        **facts,
        "steps": log.steps,
        "tokens": log.tokens,
        "answer_tokens": log.answer_tokens,
        "seconds": round(log.seconds, 3),
        "tokens_per_second": round(log.tokens / max(log.seconds, 1e-9), 1),
        "log": log.entries,
        "validation": log.validation,
        "best": {name: log.best[name] for name in ("step", "loss")} if log.best else None,
        "stopped_early": log.stopped_early,
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
    }
    (out / "training.json").write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _rendered(row: Encoded, side: str) -> dict[str, Any]:
    return {"id": row.id, "split": side, "text": row.text, "answer": [row.start, row.end]}


def _probe(row: Encoded) -> dict[str, Any]:
    probe = {"id": row.id, "messages": list(row.messages), "text": row.text, "ids": row.ids}
    return {**probe, "tools": list(row.tools)} if row.tools else probe


def _write_lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
