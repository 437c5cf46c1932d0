"""A choice as JSON: what was tried, what no other file beats, what ships and why; `choice.json` beside the files."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_llamacpp.choosing.trials import patterns

if TYPE_CHECKING:
    import pillm
    from pillm_llamacpp.choosing.front import Trial
    from pillm_llamacpp.choosing.search import Choice

VERSION = 1


def document(choice: Choice, kept: Collection[str]) -> dict[str, Any]:
    """Return a choice as the report reads it; `kept` are the names of the files that ship."""
    shown = {trial.name for trial in choice.front}
    return {
        "version": VERSION,
        "device": choice.device,
        "picked": choice.picked.name,
        "reason": choice.reason,
        "metric": choice.basis.metric,
        "rests_on": {
            "compared": choice.basis.compared,
            "answer_tokens": choice.basis.answer_tokens,
            "scored": choice.basis.scored,
            "max_tokens": choice.basis.max_tokens,
            "seen": choice.basis.seen,
        },
        "decisions": list(choice.decisions),
        "trials": [_trial(trial, front=trial.name in shown, kept=trial.name in kept) for trial in choice.trials],
    }


def _trial(trial: Trial, **flags: bool) -> dict[str, Any]:
    found = trial.divergence
    return {
        "name": trial.name, "quant": trial.quant, "bytes": trial.bytes, "ram": trial.ram, "kld": trial.kld,
        "kld_low": found.low if found else None, "kld_high": found.high if found else None,
        "top1": found.top1 if found else 1.0, "score": trial.score, "tg_tps": trial.tg_tps, "pp_tps": trial.pp_tps,
        "imatrix": trial.imatrix, "rounded": trial.rounded, **flags,
        "scores": {name: asdict(figure) for name, figure in trial.scores.items()}, "cut": trial.cut,
        "lost": _lost(trial.lost),
        # as llama-quantize takes them: --tensor-type PATTERN=TYPE
        "types": patterns(trial.types),
    }  # fmt: skip


def _lost(lost: pillm.Difference | None) -> dict[str, Any] | None:
    """Return the paired difference of a score to the full file's."""
    return {"mean": lost.mean, "low": lost.low, "high": lost.high, "rows": lost.rows} if lost else None


def write(choice: Choice, kept: Collection[str], folder: Path) -> None:
    """Write `choice.json` into a folder."""
    text = json.dumps(document(choice, kept), ensure_ascii=False, indent=2, allow_nan=False)
    (folder / pillm.CHOICE_FILE).write_text(text + "\n", "utf-8")
