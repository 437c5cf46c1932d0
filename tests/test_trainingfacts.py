"""A training in words."""

from __future__ import annotations

from typing import Any

import pytest

from pillm.report.trainingfacts import training_facts, training_sentence, training_table
from pillm.report.trainingfile import accepted


def training(train: list[float] | None = None, validation: list[float] | None = None, **said: Any) -> dict[str, Any]:
    log = [{"step": 10 * number, "loss": loss} for number, loss in enumerate(train or (), 1)]
    found = [{"step": 10 * number, "validation_loss": loss} for number, loss in enumerate(validation or (), 1)]
    record = accepted({"log": log, "validation": found, "steps": 1, **said})
    assert record is not None
    return record


@pytest.mark.parametrize(
    ("train", "validation", "said"),
    [
        ([2.5, 0.25], [], "Training loss fell from 2.5 to 0.25 by step 20."),
        ([1, 2], [], "Training loss rose from 1 to 2 by step 20."),
        ([1, 1], [], "Training loss went from 1 to 1 by step 20."),
        ([1], [0.5], "Training loss was 1 at step 10. Validation loss was 0.5 at step 10."),
        ([], [3, 1, 2], "Validation loss was best at step 20: 1, and 2 at the end."),
        ([], [3, 1, 1], "Validation loss was best at step 20: 1."),
        ([], [3, 2, 1], "Validation loss was best at the end: 1."),
        ([], [], ""),
    ],
)
def test_the_sentence_says_what_the_curves_show(train: list[float], validation: list[float], said: str) -> None:
    assert training_sentence(training(train, validation)) == said


def test_the_sentence_says_that_training_stopped_early() -> None:
    assert training_sentence(training([2, 1], stopped_early=True)).endswith(" by step 20. Training stopped early.")
    assert "stopped" not in training_sentence(training([2, 1], stopped_early=False))


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"source": "labels", "positions": 120, "answer_tokens": 150, "rows_left_out": {"no log-probabilities": 3}},
         "log-probabilities stored with the labels, at 120 of 150 answer tokens; from their labels alone: "
         "no log-probabilities (3)"),
        ({"source": "teacher"}, "a teacher that scored the rows"),
        ({"source": "student", "positions": 5, "answer_tokens": 5},
         "a teacher that scored the student's own answers, at 5 of 5 answer tokens"),
    ],
)  # fmt: skip
def test_it_says_whose_distributions_were_learnt(said: dict[str, Any], words: str) -> None:
    assert dict(training_facts(training(distillation=said)))["Distilled from"] == words
    assert "Distilled from" not in dict(training_facts(training()))


def test_a_distillation_is_told_by_its_cross_entropy_and_its_divergence_apart() -> None:
    log = [
        {"step": 10, "loss": 7.5, "divergence": 9.0, "cross_entropy": 2.0},
        {"step": 20, "loss": 6, "divergence": 8.0, "cross_entropy": 1.5},
    ]
    told = training(validation=[2.5], log=log)
    assert training_sentence(told) == (
        "Training cross-entropy fell from 2 to 1.5 by step 20. Validation cross-entropy was 2.5 at step 10."
    )
    assert dict(training_facts(told))["Divergence from the teacher"] == "9 at step 10 to 8 at step 20"
    assert training_table(told) == [(10, 2.0, 2.5)]


def test_a_loss_that_is_a_divergence_alone_is_no_curve_beside_validations() -> None:
    told = training(validation=[2.5], log=[{"step": 10, "loss": 7.5, "on_policy_divergence": 7.5}])
    assert training_table(told) == [(10, None, 2.5)]
    assert dict(training_facts(told))["Divergence on the student's own answers"] == "7.5 at step 10"


def test_the_part_with_rounded_weights_is_told_and_nonsense_about_it_is_not() -> None:
    rounded = training(steps=276, quantization_aware={"type": "IQ4_NL", "after_step": 138, "share_of_weights": 0.9})
    assert ("Rounded weights", "IQ4_NL, steps 139 to 276") in training_facts(rounded)
    for odd in ({"type": "IQ4_NL"}, {"type": "<b>", "after_step": 3}, {"type": 4, "after_step": 3}, "Q4_0", None):
        assert "rounded" not in training(quantization_aware=odd)


def test_figures_have_names_and_units() -> None:
    known = training(
        steps=504, stopped_early=True, tokens=4_000, answer_tokens=1_000, seconds=61.0, tokens_per_second=65.57, rows=8_058,
        rows_left_out={"too long": 2, "no answer": 5}, parameters=2_000, learnt_parameters=500,
    )  # fmt: skip
    known["best"] = {"step": 20, "loss": 0.5, "accuracy": 0.9}
    assert dict(training_facts(known)) == {
        "Steps": "504, stopped early",
        "Best validation": "0.5 at step 20; 90 % of answer tokens right",
        "Tokens": "4\u202f000, 25 % of them in answers",
        "Throughput": "65.6 tokens/s",
        "Time": "1 min 01 s",
        "Rows": "8\u202f058 trained on",
        "Rows left out": "no answer (5); too long (2)",
        "Trainable parameters": "25 %, 500 of 2\u202f000",
    }


def test_a_full_fine_tuning_trains_all_parameters() -> None:
    assert ("Trainable parameters", "all 2\u202f000") in training_facts(training(parameters=2_000, learnt_parameters=2_000))


def test_figures_that_are_not_known_or_contradict_each_other_are_left_out() -> None:
    assert training_facts(training()) == [("Steps", "1")]
    odd = training(parameters=5, learnt_parameters=6, tokens=10, answer_tokens=11)
    assert training_facts(odd) == [("Steps", "1"), ("Tokens", "10")]


def test_the_table_has_up_to_ten_validations_with_the_training_loss_of_their_step() -> None:
    both = training([4, 3, 2], [3.5, 1, 2.5])
    assert training_table(both) == [(10, 4, 3.5), (20, 3, 1), (30, 2, 2.5)]
    many = training_table(training(None, [abs(number - 37) + 1 for number in range(100)]))
    assert (many[0][0], many[-1][0]) == (10, 1000)
    assert (380, None, 1) in many, "the best one is always there"
    assert len(many) <= 11


def test_without_validations_the_table_shows_the_training_loss() -> None:
    assert training_table(training([4, 3])) == [(10, 4, None), (20, 3, None)]
    assert training_table(training()) == []


def test_a_validation_between_two_log_entries_stands_beside_the_one_before() -> None:
    found = training([4, 3], validation=None)
    found["validation"] = [{"step": 5, "loss": 9}, {"step": 15, "loss": 8}]
    found["best"] = found["validation"][1]
    assert training_table(found) == [(5, None, 9), (15, 4, 8)]


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ({"init": "base", "layers": {"before": 24, "after": 6, "kept": [0]}, "vocabulary": {"before": 151936, "after": 4096}},
         "the base's weights: layers 24 to 6, tokens 151\u202f936 to 4\u202f096"),
        ({"init": "random", "hidden_size": {"before": 64, "after": 64}}, "random weights"),
        ({"init": "base", "head_bytes": {"before": 272_269_312, "after": 7_340_032}},
         "the base's weights: output head 272 MB to 7.34 MB"),
    ],
)  # fmt: skip
def test_what_the_student_was_cut_from_is_told(start: dict[str, Any], said: str) -> None:
    assert dict(training_facts(training([1], start=start)))["Started from"] == said
    assert "Started from" not in dict(training_facts(training([1])))
