"""A choice written down, and read by the report."""

from __future__ import annotations

import json
from pathlib import Path

from jsonschema import Draft202012Validator
from pillm_llamacpp.choosing.document import document, write
from pillm_llamacpp.choosing.front import Trial
from pillm_llamacpp.choosing.reasons import Basis
from pillm_llamacpp.choosing.search import Choice

import pillm
from pillm.cli.formats import format_schema
from pillm.report import read_choice

FOUND = pillm.Divergence(mean=0.01, low=0.009, high=0.011, p99=0.2, largest=1.0, top1=0.99, positions=100)
FIGURE = pillm.Figure(mean=0.9, low=0.85, high=0.94, rows=200)
LOST = pillm.Difference(mean=-0.01, low=-0.03, high=0.005, rows=200, better=1, worse=3, units=200)
BASIS = Basis(compared=204, answer_tokens=8160, scored=200, metric="fields", max_tokens=144)
DECISION = {"what": "the importance matrix", "used": True, "before": 0.2, "after": 0.1, "low": -0.2, "high": -0.05, "rows": 204}
PICKED = Trial(
    name="Q4_0-tuned", quant="Q4_0", bytes=1000, ram=5000, kld=0.01, divergence=FOUND, score=0.9, tg_tps=7.0,
    types={"blk.0.attn_q.weight": "Q5_0"}, rounded=True, scores={"fields": FIGURE}, cut=2, lost=LOST,
)  # fmt: skip
FULL = Trial(name="F16", quant="F16", bytes=4000, ram=9000, kld=0.0)
CHOICE = Choice(
    trials=(FULL, PICKED), front=(FULL, PICKED), picked=PICKED, reason="It is best.", device="pi4-4gb", basis=BASIS,
    decisions=(DECISION,),
)  # fmt: skip


def test_the_types_stand_there_as_llama_quantize_takes_them() -> None:
    told = document(CHOICE, {"Q4_0-tuned"})
    trial = told["trials"][1]
    assert trial["types"] == {r"^blk\.0\.attn_q\.weight$": "Q5_0"}
    assert (trial["front"], trial["kept"], trial["rounded"], trial["imatrix"]) == (True, True, True, False)
    assert (trial["kld_low"], trial["top1"]) == (0.009, 0.99)
    assert told["trials"][0]["kept"] is False
    assert told["rests_on"] == {"compared": 204, "answer_tokens": 8160, "scored": 200, "max_tokens": 144, "seen": False}
    assert trial["scores"]["fields"] == {"mean": 0.9, "low": 0.85, "high": 0.94, "rows": 200}
    assert trial["lost"]["low"] == -0.03
    assert json.loads(json.dumps(told)) == told


def test_the_report_reads_what_was_written(tmp_path: Path) -> None:
    write(CHOICE, {"Q4_0-tuned"}, tmp_path)
    found = read_choice(tmp_path)
    assert found is not None
    assert found["picked"] == "Q4_0-tuned"
    assert found["reason"] == "It is best."
    assert [trial["name"] for trial in found["trials"]] == ["Q4_0-tuned", "F16"]
    assert found["trials"][0]["kept"]
    assert (found["metric"], found["compared"], found["scored"], found["seen"]) == ("fields", 204, 200, False)


def test_the_file_is_as_its_schema_says_which_names_all_that_it_says() -> None:
    told, schema = document(CHOICE, {"Q4_0-tuned"}), format_schema("choice")
    Draft202012Validator(schema).validate(told)
    properties = schema["properties"]
    assert set(properties) == set(told)
    assert set(properties["trials"]["items"]["properties"]) == set(told["trials"][1])
    assert set(properties["rests_on"]["properties"]) == set(told["rests_on"])
    assert set(properties["decisions"]["items"]["properties"]) == set(DECISION)
