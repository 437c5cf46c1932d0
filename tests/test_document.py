"""The report document: what `report.json` holds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from pillm.artifacts import Benchmark, Evaluation, Fact, Figure, ModelFile, Parity, Plan
from pillm.errors import DataError
from pillm.report.document import build_report
from pillm.report.facts import RunFacts
from pillm.report.schema import SCHEMA
from pillm.report.trainingfile import accepted

ROWS = {"in": 10, "answered": 7, "rejected": 1, "failed": 1, "pending": 1}


def model(path: Path, mismatches: int | None = None) -> ModelFile:
    parity = None if mismatches is None else Parity(rows=9, mismatches=mismatches)
    return ModelFile(path=path, quant="Q8_0", bytes=5, sha256="0" * 64, parity=parity)


def planned(tg: float | None) -> Plan:
    return Plan(model="a.gguf", device="pi4-4gb", quant="Q8_0", fits=True, bytes=5, memory={"weights": 5}, tg_tps=tg,
                pp_tps=None, context=512, verdict="Fits.", sources={"decode": Fact(source="a fit", trust=3)})  # fmt: skip


def test_paths_inside_the_run_are_relative_and_others_lose_their_folders(tmp_path: Path) -> None:
    models = [model(tmp_path / "export/a.gguf"), model(Path("/else/b.gguf"))]
    report = build_report(RunFacts(recipe="x", rows=ROWS, models=models), tmp_path)
    assert [one["file"] for one in report["models"]] == ["export/a.gguf", "b.gguf"]
    evaluation = Evaluation(
        subject="a", kind="model", set="test", rows=0, metrics={}, predictions=tmp_path / "evaluate/p.jsonl"
    )
    assert build_report(RunFacts(recipe="x", rows=ROWS, evaluations=[evaluation]), tmp_path)["evaluations"][0][
        "predictions"
    ] == ("evaluate/p.jsonl")


def test_rows_must_balance() -> None:
    assert build_report(RunFacts(recipe="x", rows=ROWS))["rows"] == ROWS
    with pytest.raises(DataError, match="10 came in, 9 are accounted for"):
        build_report(RunFacts(recipe="x", rows={**ROWS, "pending": 0}))


def test_parity_is_the_worst_of_the_files_unless_it_is_told() -> None:
    models = [model(Path("a.gguf"), 0), model(Path("b.gguf"), 3), model(Path("c.gguf"))]
    assert build_report(RunFacts(recipe="x", rows={}, models=models))["parity"] == {"rows": 9, "mismatches": 3}
    told = Parity(rows=1, mismatches=0)
    assert build_report(RunFacts(recipe="x", rows={}, models=models, parity=told))["parity"] == {"rows": 1, "mismatches": 0}
    assert build_report(RunFacts(recipe="x", rows={}))["parity"] is None


def test_a_plan_becomes_a_predicted_benchmark_unless_it_is_there_already_or_knows_no_speed() -> None:
    report = build_report(RunFacts(recipe="x", rows={}, plans=[planned(48.0)]))
    assert report["benchmarks"] == [
        {
            "model": "a.gguf",
            "device": "pi4-4gb",
            "basis": "predicted",
            "pp_tps": None,
            "tg_tps": 48.0,
            "details": {"source": "decode: a fit (trust 3 of 3)"},
        }
    ]
    there = Benchmark(model="a.gguf", device="pi4-4gb", basis="predicted", pp_tps=1.0, tg_tps=2.0)
    assert len(build_report(RunFacts(recipe="x", rows={}, plans=[planned(48.0)], benchmarks=[there]))["benchmarks"]) == 1
    assert build_report(RunFacts(recipe="x", rows={}, plans=[planned(None)]))["benchmarks"] == []
    assert report["device"] == "pi4-4gb"


def test_gates_may_be_tables_or_objects() -> None:
    @dataclass
    class Gate:
        gate: str
        met: bool

    report = build_report(RunFacts(recipe="x", rows={}, gates=[Gate("a", True), {"gate": "b", "met": False}]))
    assert report["gates"] == [{"gate": "a", "met": True}, {"gate": "b", "met": False}]


def test_the_pick_says_how_much_was_kept() -> None:
    def scored(subject: str, kind: str, mean: float) -> Evaluation:
        figure = Figure(mean=mean, low=mean, high=mean, rows=4)
        return Evaluation(subject=subject, kind=kind, set="test", rows=4, metrics={"exact": figure}, quant="Q8_0")  # type: ignore[arg-type]

    evaluations = [scored("t", "teacher", 0.8), scored("b", "base", 0.1), scored("a.gguf", "model", 0.6)]
    report = build_report(RunFacts(recipe="x", rows={}, models=[model(Path("a.gguf"))], evaluations=evaluations))
    assert report["pick"] == {
        "model": "a.gguf", "quant": "Q8_0", "bytes": 5, "score": 0.6, "teacher": 0.8, "base": 0.1, "kept": pytest.approx(0.75),
        "by": "only", "why": "it is the only file",
    }  # fmt: skip
    silent = build_report(RunFacts(recipe="x", rows={}, evaluations=[scored("t", "teacher", 0.0), evaluations[2]]))
    assert silent["pick"]["kept"] is None


def test_the_training_stands_as_its_record_was_read() -> None:
    training = accepted({"steps": 3, "log": [{"step": 1, "loss": 2}], "validation": [{"step": 3, "validation_loss": 1}]})
    report = build_report(RunFacts(recipe="x", rows={}, training=training))
    assert report["training"] == training
    jsonschema.validate(report, SCHEMA)
    assert build_report(RunFacts(recipe="x", rows={}))["training"] is None


def test_any_document_is_json_and_keeps_the_schema(tmp_path: Path) -> None:
    facts = RunFacts(
        recipe="x", rows=ROWS, models=[model(tmp_path / "a.gguf", 0)], plans=[planned(3.0)], seconds={"label": 1.23456}
    )
    report = build_report(facts, tmp_path)
    jsonschema.validate(json.loads(json.dumps(report, allow_nan=False)), SCHEMA)
    assert report["seconds"] == {"label": 1.235}
