"""How an exporter chose among quantisations, as it wrote it down, read as a stranger's words: what is wrong is passed over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pillm.artifacts import CHOICE_FILE
from pillm.records import JSONObject
from pillm.report.foreignjson import figure, read_foreign

MAX_TRIALS = 100
MAX_NAME, MAX_REASON = 80, 800
FIGURES = ("kld", "kld_low", "kld_high", "top1", "score", "tg_tps", "pp_tps")
BASIS = ("compared", "scored")
"""How many rows the divergences, and the scores, rest on."""
FLAGS = ("front", "kept", "imatrix", "rounded")


def read_choice(folder: Path) -> JSONObject | None:
    """Return what `choice.json` in an export's folder says, as the report holds it; None where it says nothing of use."""
    return accepted(read_foreign(folder / CHOICE_FILE))


def accepted(said: Any) -> JSONObject | None:
    """Return the part of a choice that makes sense, or None where it has no trial with a size and a divergence."""
    if not isinstance(said, dict) or not isinstance(said.get("trials"), list):
        return None
    trials = [trial for one in said["trials"][:MAX_TRIALS] if (trial := _trial(one)) is not None]
    if not trials:
        return None
    names = {trial["name"] for trial in trials}
    told = said.get("rests_on")
    basis = told if isinstance(told, dict) else {}
    picked = said.get("picked")
    return {
        "device": _text(said.get("device"), MAX_NAME),
        "picked": picked if isinstance(picked, str) and picked in names else None,
        "reason": _text(said.get("reason"), MAX_REASON),
        "metric": _text(said.get("metric"), MAX_NAME),
        **{key: _count(basis.get(key)) for key in BASIS},
        "seen": basis.get("seen") is True,
        "trials": sorted(trials, key=lambda trial: trial["bytes"]),
    }


def _trial(said: Any) -> JSONObject | None:
    if not isinstance(said, dict):
        return None
    name, size, figures = _text(said.get("name"), MAX_NAME), _figure(said.get("bytes")), {}
    for key in FIGURES:
        figures[key] = _figure(said.get(key))
    if not name or not size or size != int(size) or figures["kld"] is None:
        return None
    return {"name": name, "bytes": int(size), **figures, **{key: said.get(key) is True for key in FLAGS}}


def _text(value: Any, most: int) -> str | None:
    return value[:most] if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    found = _figure(value)
    return int(found) if found is not None and found == int(found) else None


def _figure(value: Any) -> float | None:
    """Return a number from 0 up; None for everything else, infinities and NaN included."""
    found = figure(value)
    return found if found is not None and found >= 0 else None
