"""A loss is the stage's that made it."""

from __future__ import annotations

from typing import Any

from pillm.report.blame import Check, blame, blame_sentence


def step(stage: str, mean: float, *, sure: bool = True, **more: str) -> dict[str, Any]:
    ends = {"from": "a", "from_kind": "checkpoint", "to": "f16", "to_kind": "model", **more}
    interval = {"mean": mean, "low": mean - 0.05, "high": mean + (0.05 if sure else 1)}
    return {"stage": stage, **ends, "metric": "exact", **interval, "rows": 40, "units": 40, "better": 0, "worse": 3}


def test_only_what_is_beyond_chance_is_blamed() -> None:
    steps = [step("training", -0.3, from_kind="teacher", to_kind="checkpoint", to="c"), step("export", -0.2, sure=False),
             step("quantisation", 0.2, to="q8")]  # fmt: skip
    assert [one["stage"] for one in blame(steps)] == ["training"]
    assert blame_sentence(blame(steps), steps) == "Most was lost in training (c: −0.300 exact)."


def test_what_the_base_could_not_do_is_no_loss() -> None:
    gain = step("training", -0.4, from_kind="base", to_kind="checkpoint")
    assert blame([gain]) == []
    assert blame_sentence([], [gain]) == "No step lost more than chance does."
    assert blame_sentence([], []) == ""


def test_with_an_adapter_the_merges_loss_is_not_the_trainings() -> None:
    steps = [step("training", -0.01, from_kind="teacher", to="adapter", to_kind="adapter", sure=False),
             step("merge", -0.5, from_kind="adapter", to="c", to_kind="checkpoint"),
             step("training", -0.5, from_kind="teacher", to="c", to_kind="checkpoint")]  # fmt: skip
    assert [one["stage"] for one in blame(steps)] == ["merge"]


def test_the_largest_loss_comes_first_and_the_others_are_named() -> None:
    steps = [step("training", -0.1, from_kind="teacher", to_kind="checkpoint", to="c"), step("export", -0.6)]
    assert blame_sentence(blame(steps), steps) == (
        "Most was lost in the export (f16: −0.600 exact); also in training (c: −0.100 exact)."
    )


def test_what_is_wrong_with_the_file_is_the_reason() -> None:
    steps = [step("export", -0.6)]
    other = Check(stage="export", what="tokens", file="q8", ok=False, detail="no")
    wrong = Check(stage="export", what="chat template", file="f16", ok=False, detail="it is another")
    assert blame(steps, [other, wrong])[0]["why"] == "chat template: it is another"
    sound = Check(stage="export", what="tokens", file="f16", ok=True)
    assert "the weights are not the checkpoint's" in blame(steps, [sound])[0]["why"]
    assert blame(steps)[0]["why"] == ""
