"""The report of a run: one document, three faces, from realistic facts."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from pillm.artifacts import Benchmark, Evaluation, Fact, ModelFile, Parity, Plan
from pillm.backends import Session
from pillm.errors import DataError, StorageError
from pillm.metrics import Exact, Fields, SatisfiesSchema, ValidJSON
from pillm.records import Answer, Failure, Prompt, Reference, Request
from pillm.report import RunFacts, write_report
from pillm.report.schema import SCHEMA
from pillm.stages.evaluation import Scope, evaluate

SCHEMA_OF_ANSWERS = {"type": "object", "properties": {"tool": {"type": "string"}}, "required": ["tool"]}
SENTENCES = [
    ("allume la lampe du salon s'il te plaît", {"tool": "HassTurnOn", "name": "lampe du salon"}),
    (
        "euh, mets le chauffage à 21 dans la chambre",
        {"tool": "HassClimateSetTemperature", "area": "chambre", "temperature": 21},
    ),
    ("set a timer for 12 minutes for the pasta", {"tool": "HassStartTimer", "minutes": 12, "name": "pasta"}),
    (
        "ajoute du lait pis des œufs à la liste d'épicerie",
        {"tool": "HassListAddItem", "item": "lait, œufs", "name": "épicerie"},
    ),
    (
        "email Marc that the meeting moves to 3 pm",
        {"tool": "email", "to": "Marc", "subject": "meeting", "text": "moves to 3 pm"},
    ),
    ("c'est quoi la météo demain à Rimouski", {"tool": "HassGetWeather", "place": "Rimouski", "day": "tomorrow"}),
    ("dim the kitchen lights to 40 percent", {"tool": "HassLightSet", "area": "kitchen", "brightness": 40}),
    ("trouve un dentiste ouvert samedi proche d'ici", {"tool": "search", "query": "dentiste", "open": "saturday"}),
]
TAGS = [("fr-CA", "home"), ("fr-CA", "home"), ("en", "home"), ("fr-CA", "list"), ("en", "email"), ("fr-CA", "weather"),
        ("en", "home"), ("fr-CA", "search")]  # fmt: skip
SKILL = {
    "nano-teacher": 0.03,
    "nano-base": 0.94,
    "checkpoint": 0.05,
    "F16": 0.05,
    "Q8_0": 0.05,
    "Q4_K_M": 0.055,
    "IQ4_NL": 0.065,
}
HARDER = {"test": 1.0, "handwritten": 4.0, "community": 8.0}
SIZES = {"F16": 3_912_448, "Q8_0": 2_179_072, "Q4_K_M": 1_413_120, "IQ4_NL": 1_298_432}


class Student(Session):
    """Forgets a share of the answers: the same rows for everybody, and some of its own."""

    def __init__(self, name: str, set_: str) -> None:
        self.name, self.set = name, set_

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        chance = random.Random(self.name)
        for request in requests:
            truth = dict(SENTENCES[int(request.prompt.id.split("-")[1]) % len(SENTENCES)][1])
            shared = random.Random(request.prompt.id).random()
            limit = min(0.97, SKILL[self.name] * HARDER[self.set])
            if shared < limit or chance.random() < limit / 12:
                yield request, self._wrong(truth, random.Random(request.prompt.id + str(limit > 0.9)))
            else:
                yield request, Answer(json.dumps(truth, ensure_ascii=False))

    def _wrong(self, truth: dict[str, object], chance: random.Random) -> Answer | Failure:
        kind = chance.random()
        if self.name == "nano-base":
            return Answer("Salon salon lampe la la la"[: chance.randrange(6, 26)], finish_reason="length")
        if kind < 0.03:
            return Failure("server", "the worker died on this row")
        key = sorted(truth)[int(kind * len(truth)) % len(truth)]
        truth[key] = {str: "salle de bain", int: 14}.get(type(truth[key]), "?")
        text = json.dumps(truth, ensure_ascii=False)
        return Answer(text[:-9], finish_reason="length") if kind > 0.93 else Answer(text)


def prompts(set_: str, count: int) -> list[Prompt]:
    found = []
    for number in range(count):
        said, truth = SENTENCES[number % len(SENTENCES)]
        message = {"role": "assistant", "content": json.dumps(truth, ensure_ascii=False)}
        found.append(
            Prompt(
                id=f"{set_}-{number}",
                messages=({"role": "user", "content": said},),
                schema=SCHEMA_OF_ANSWERS,
                reference=Reference(message=message),
                tags=TAGS[number % len(TAGS)],
            )
        )
    return found


def evaluations(folder: Path, counts: dict[str, int]) -> list[Evaluation]:
    found = []
    for name in SKILL:
        kind = {"nano-teacher": "teacher", "nano-base": "base", "checkpoint": "checkpoint"}.get(name, "model")
        subject = f"nano.{name}.gguf" if kind == "model" else name
        for set_, count in counts.items():
            scope = Scope(subject=subject, kind=kind, set=set_, quant=name if kind == "model" else None)  # type: ignore[arg-type]
            metrics = [Exact(), ValidJSON(), SatisfiesSchema(), Fields()]
            out = folder / "evaluate" / name / set_
            found.append(evaluate(prompts(set_, count), Student(name, set_), metrics, out=out, scope=scope))
    return found


def models(folder: Path) -> list[ModelFile]:
    return [
        ModelFile(path=folder / "export" / f"nano.{quant}.gguf", quant=quant, bytes=size,
                  sha256=(quant.encode().hex() * 12)[:64], parity=Parity(rows=1840, mismatches=0))
        for quant, size in SIZES.items()
    ]  # fmt: skip


def benchmarks(found: Sequence[ModelFile]) -> list[Benchmark]:
    pace = {"F16": (5210.0, 412.0), "Q8_0": (7820.0, 655.0), "Q4_K_M": (8340.0, 802.0), "IQ4_NL": (8120.0, 838.0)}
    return [
        Benchmark(model=one.label, device="local", basis="measured", pp_tps=pace[one.quant][0], tg_tps=pace[one.quant][1])
        for one in found
    ]


def plans(found: Sequence[ModelFile]) -> list[Plan]:
    pace = {"F16": (640.0, 411.0), "Q8_0": (1090.0, 598.0), "Q4_K_M": (1150.0, 713.0), "IQ4_NL": (905.0, 729.0)}
    return [
        Plan(model=one.label, device="pi4-4gb", quant=one.quant, fits=True, bytes=one.bytes, memory={"weights": one.bytes},
             pp_tps=pace[one.quant][0], tg_tps=pace[one.quant][1], context=1024,
             verdict=f"Fits Raspberry Pi 4, 4 GB: 101.2 MB of the 3.35 GB that the system leaves, with 1024 tokens of "
             f"context; about {pace[one.quant][1]:g} tokens per second.",
             sources={"decode": Fact(source="linear fit on 75 published rows", trust=3)})
        for one in found
    ]  # fmt: skip


def sample(folder: Path, *, small: bool = False) -> RunFacts:
    counts = {"test": 40, "handwritten": 24} if small else {"test": 640, "handwritten": 224, "community": 1040}
    found = models(folder)
    return RunFacts(
        recipe="quickstart",
        rows={"in": 9962, "answered": 9958, "rejected": 3, "failed": 1, "pending": 0},
        models=found,
        evaluations=evaluations(folder, counts),
        benchmarks=benchmarks(found),
        plans=plans(found),
        gates=[
            {"gate": "exact >= 0.95 of teacher", "model": one.label, "value": 0.946, "bound": 0.92, "met": True}
            for one in found
        ],
        seconds={"label": 58.2, "train": 141.7, "export": 12.4, "evaluate": 61.9, "bench": 18.3},
        versions={"pillm": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "transformers": "5.23.0", "llama_cpp": "0.3.36"},
        splits={"train": 8058, "validation": 200, "calibration": 200, "test": 640},
        sizes={"teacher": 10_212_000, "base": 3_912_448, "checkpoint": 3_960_000},
        device="pi4-4gb",
        at="2026-11-20T10:00:00+00:00",
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunFacts]:
    folder = tmp_path_factory.mktemp("run")
    return folder, sample(folder, small=True)


def test_the_three_reports_are_written_whole(run: tuple[Path, RunFacts], tmp_path: Path) -> None:
    document = write_report(run[1], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md"]
    assert json.loads((tmp_path / "report.json").read_text()) == document


def test_the_document_keeps_the_promised_keys(run: tuple[Path, RunFacts]) -> None:
    folder, facts = run
    document = write_report(facts, folder)
    jsonschema.validate(document, SCHEMA)
    assert document["rows"] == {"in": 9962, "answered": 9958, "rejected": 3, "failed": 1, "pending": 0}
    assert document["parity"] == {"rows": 1840, "mismatches": 0}
    assert document["models"][0]["file"] == "export/nano.F16.gguf"
    assert {"file", "quant", "bytes", "sha256"} <= document["models"][0].keys()
    assert {"subject", "kind", "set", "quant", "rows", "metrics"} <= document["evaluations"][0].keys()
    assert {"mean", "low", "high"} <= document["evaluations"][0]["metrics"]["exact"].keys()
    assert {one["basis"] for one in document["benchmarks"]} == {"measured", "predicted"}
    assert {"model", "device", "basis", "pp_tps", "tg_tps"} <= document["benchmarks"][0].keys()


def test_no_path_of_this_machine_reaches_a_report(run: tuple[Path, RunFacts], tmp_path: Path) -> None:
    write_report(run[1], tmp_path)
    for path in tmp_path.iterdir():
        assert str(run[0]) not in path.read_text()


def test_the_same_facts_give_the_same_bytes(run: tuple[Path, RunFacts], tmp_path: Path) -> None:
    write_report(run[1], tmp_path / "one")
    write_report(run[1], tmp_path / "two")
    for name in ("report.json", "report.md", "report.html"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_rows_that_do_not_balance_are_refused(run: tuple[Path, RunFacts], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="do not balance"):
        write_report(replace(run[1], rows={"in": 5, "answered": 4}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_scores_still_has_a_report(tmp_path: Path) -> None:
    document = write_report(RunFacts(recipe="bare", rows={}), tmp_path)
    jsonschema.validate(document, SCHEMA)
    assert document["pick"] is None
    assert "nothing was scored" in (tmp_path / "report.html").read_text()
    assert "nothing was scored" in (tmp_path / "report.md").read_text()


def test_a_folder_that_cannot_be_written_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises((StorageError, OSError)):
        write_report(RunFacts(recipe="bare", rows={}), tmp_path / "file")
