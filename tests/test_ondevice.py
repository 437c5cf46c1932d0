"""The part of a report on the device: what is predicted is said to be, and one answer is shown as it was emulated."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jsonschema
import pytest

from pillm.artifacts import Evaluation, Figure
from pillm.plans import Fact, Lengths, Plan
from pillm.report import RunFacts, build_report
from pillm.report.markdown import markdown
from pillm.report.ondevice import sentences
from pillm.report.page import page
from pillm.report.schema import SCHEMA

ROWS = {"in": 1, "answered": 1, "rejected": 0, "failed": 0, "pending": 0}
SCORED = Evaluation(
    subject="s.gguf", kind="model", set="test", rows=9, quant="Q8_0",
    metrics={"exact": Figure(mean=0.9, low=0.8, high=1.0, rows=9)},
)  # fmt: skip
PLAN = Plan(
    model="s.gguf", device="pi4-2gb", quant="Q8_0", fits=True, bytes=100, context=1024, verdict="Fits.",
    tg_tps=10.0, pp_tps=50.0, lengths=Lengths(prompt=200, answer=30), ttft_s=4.0, answer_s=7.0,
    memory={"weights": 300_000_000, "kv_cache": 100_000_000, "available": 2_000_000_000},
)  # fmt: skip
EMULATED = {
    "model": "s.gguf", "runner": "pi4-emulated", "row": "r-1", "prompt": "allume <b>", "answer": "{}", "here": "{}",
    "same": True,
    "unit": "tokens", "compared": 12, "seconds": 2.0,
}  # fmt: skip


def report(plan: Plan | None = PLAN, scored: Evaluation = SCORED, **facts: Any) -> dict[str, Any]:
    made = build_report(
        RunFacts(recipe="r", rows=ROWS, evaluations=[scored], plans=[plan] if plan else [], versions={"pillm": "0"}, **facts)
    )
    jsonschema.validate(made, SCHEMA)
    return made


def test_speed_and_time_are_predicted_and_said_to_be() -> None:
    found = report()
    assert found["on_device"]["first_token_seconds"] == pytest.approx(4.0)
    assert found["on_device"]["answer_seconds"] == pytest.approx(7.0)
    assert found["on_device"]["basis"] == "predicted"
    speed, memory = sentences(found)
    assert speed == (
        "s.gguf would write about 10.0 tokens per second (predicted, nothing was run there); a typical answer, 30 tokens after "
        "a prompt of 200, would take 7.0 s, the first token 4.0 s."
    )
    assert memory == "It fits: it needs 400 MB with what the system keeps, of 2.00 GB (predicted)."


def test_lengths_that_nobody_counted_and_speeds_that_nobody_knows_are_left_out() -> None:
    (speed, _) = sentences(report(replace(PLAN, lengths=None, ttft_s=None, answer_s=None)))
    assert speed.endswith("(predicted, nothing was run there).")
    (unknown, _) = sentences(report(replace(PLAN, tg_tps=None, pp_tps=None)))
    assert "is not calibrated" in unknown
    why = "nobody measured IQ1_S on this device"
    (said, _) = sentences(report(replace(PLAN, tg_tps=None, pp_tps=None, unknown=why)))
    assert said == f"How fast s.gguf would be is not known: {why}."


def test_the_interval_and_the_trust_stand_beside_a_speed() -> None:
    fitted = {"decode": Fact(source="fit", trust=3), "prefill": Fact(source="fit", trust=2)}
    found = report(replace(PLAN, tg_interval=(9.0, 11.0), sources=fitted))
    assert (
        "(predicted, nothing was run there, nine in ten speeds like it lie between 9.00 and 11.0, trust 2 of 3)"
        in (sentences(found)[0])
    )
    assert (found["on_device"]["tg_interval"], found["on_device"]["extrapolated"]) == ([9.0, 11.0], False)
    far = report(replace(PLAN, basis_note="extrapolated: fitted on files of 240 MB"))
    assert "(predicted, extrapolated, nothing was run there)" in sentences(far)[0]
    assert far["on_device"]["tg_interval"] is None


def test_a_weak_prediction_says_why_and_a_misfit_that_it_is_one() -> None:
    speed, memory = sentences(report(replace(PLAN, fits=False, basis_note="extrapolated: fitted on files of 240 MB")))
    assert speed.endswith(". Extrapolated: fitted on files of 240 MB.")
    assert memory.startswith("It does not fit")
    tight = report(replace(PLAN, tight=True))
    assert tight["on_device"]["tight"] is True
    assert sentences(tight)[1].startswith("It fits tightly, and loads slower for it: it needs 400 MB")


def test_the_emulated_answer_is_shown_and_nothing_in_it_is_obeyed() -> None:
    found = report(emulated=EMULATED)
    assert sentences(found)[2].endswith("it answered the same 12 tokens as here.")
    assert "- asked: `allume <b>`" in markdown(found)
    assert "allume &lt;b&gt;" in page(found)
    assert page(found).count('id="device"') == 1


def test_the_place_where_the_device_parts_is_told() -> None:
    told = sentences(report(emulated={**EMULATED, "same": False, "parts_at": 3}))[2]
    assert told.endswith("it answered otherwise than here from token 4 of 12 on.")


def test_what_was_not_tried_says_how_to() -> None:
    told = sentences(report(not_emulated="qemu is missing: apt install qemu-user-static"))[2]
    assert told == "Its code for the device was not tried here: qemu is missing: apt install qemu-user-static"


def test_without_a_device_there_is_no_such_part() -> None:
    found = report(None)
    assert found["on_device"] is None
    assert sentences(found) == []
    assert 'id="device"' not in page(found)
    assert "## On a" not in markdown(found)


def test_a_profile_that_is_known_by_its_file_alone_goes_by_its_name() -> None:
    assert report(replace(PLAN, device="my-board"))["on_device"]["title"] == "my-board"
