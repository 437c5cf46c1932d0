"""Tell the files of a run what was measured of them: their card is written anew, and the run's manifest follows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pillm.artifacts import Benchmark, Evaluation, Figure
from pillm.cards.beside import refresh
from pillm.cards.card import Card
from pillm.cards.preference import Preference
from pillm.errors import DataError
from pillm.files import lock, write_json
from pillm.records import JSONObject, digest
from pillm.report.choicefile import read_choice
from pillm.report.findings import pick
from pillm.store import MANIFEST, entry_of, read_manifest


def tell(run: Path, evaluations: Sequence[Evaluation], benchmarks: Sequence[Benchmark]) -> Card:
    """Write the card of a run's exported files anew, with scores, speeds and the file to take, and return it."""
    export = run / "export"
    models = (read_manifest(export) or {}).get("results", {}).get("models", ())
    sizes = {Path(one["path"]).name: one["bytes"] for one in models}
    picked = pick(evaluations, sizes, read_choice(export))
    chosen = Preference(picked.evaluation.subject, picked.why) if picked else None
    return refresh(export, evaluations, benchmarks, chosen=chosen)


def tell_again(folder: Path) -> tuple[Path, Card]:
    """Write the card of a finished run, or of an export by itself, anew, and return its folder and the card.

    What was measured is read from the run's `report.json`. Raises DataError where `folder` holds neither.
    """
    manifest = read_manifest(folder) or {}
    if manifest.get("verb") == "export":
        if not (folder.parent / "report.json").is_file() or folder.name != "export":
            return folder, refresh(folder, (), ())
        folder = folder.parent  # the run that measured it
    report = _report(folder)
    evaluations = [_evaluation(one) for one in report["evaluations"]]
    benchmarks = [_benchmark(one) for one in report["benchmarks"] if one["pp_tps"] is not None and one["tg_tps"] is not None]
    with lock(folder / ".lock"):
        card = tell(folder, evaluations, benchmarks)
        _follow(folder)
    return folder / "export", card


def _report(folder: Path) -> JSONObject:
    try:
        report: JSONObject = json.loads((folder / "report.json").read_text("utf-8"))
        if not all(isinstance(report[name], list) for name in ("evaluations", "benchmarks")):
            raise ValueError("it lists no evaluations")
    except (OSError, ValueError, LookupError, TypeError) as error:
        remedy = "Give the folder of a finished run, or of an export."
        raise DataError(f"{folder} holds no report.json that can be read ({type(error).__name__}). {remedy}") from error
    return report


def _evaluation(said: JSONObject) -> Evaluation:
    metrics = {name: Figure(**figure) for name, figure in said["metrics"].items()}
    known: dict[str, Any] = {name: said.get(name) for name in ("subject", "kind", "set", "rows", "quant")}
    return Evaluation(**known, metrics=metrics)


def _benchmark(said: JSONObject) -> Benchmark:
    names = [one.name for one in fields(Benchmark)]
    known: dict[str, Any] = {name: said[name] for name in names if isinstance(said.get(name), str | int | float)}
    return Benchmark(**known, void=tuple(map(str, said.get("void") or ())))


def _follow(folder: Path) -> None:
    """Let the run's manifest vouch for the export's, which vouches for the card."""
    manifest, name = read_manifest(folder), f"export/{MANIFEST}"
    if manifest is None or name not in manifest["files"]:
        return
    entry = entry_of(folder / name)
    if entry != manifest["files"][name]:
        made = {**manifest, "files": {**manifest["files"], name: entry}}
        write_json(folder / MANIFEST, {**made, "sha256": digest(made)})
