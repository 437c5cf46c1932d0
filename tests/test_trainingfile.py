"""A trainer's record of its training, as the report takes it in: a stranger's words."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pillm.report import RunFacts, build_report, read_training
from pillm.report.foreignjson import MAX_BYTES
from pillm.report.markdown import markdown
from pillm.report.page import page
from pillm.report.schema import SCHEMA
from pillm.report.trainingfile import MAX_POINTS, MAX_REASON, MAX_REASONS, accepted

LOG = [{"step": 10, "loss": 2.5, "learning_rate": 1e-4, "seconds": 1.0}, {"step": 20, "loss": 1.25}]
VALIDATION = [
    {"epoch": 1, "step": 10, "validation_loss": 2.0, "validation_accuracy": 0.4},
    {"epoch": 2, "step": 20, "validation_loss": 1.0},
]
START = {"init": "base", "layers": {"before": 4, "after": 2}, "head_bytes": {"before": 2000, "after": 500}}
VALIDATOR = Draft202012Validator(SCHEMA)
NUMBERS = ("step", "loss", "validation_loss", "validation_accuracy")
PARTS = ("cross_entropy", "divergence", "on_policy_divergence")
KEYS = """
    log validation best stopped_early steps tokens answer_tokens seconds tokens_per_second rows rows_left_out parameters
    learnt_parameters start distillation
""".split()  # noqa: SIM905 - a row reads better than a column


def written(folder: Path, text: str | bytes) -> Path:
    (folder / "training.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder


def told(**said: Any) -> dict[str, Any]:
    found = accepted(said)
    assert found is not None
    return found


def test_what_a_trainer_says_of_its_training_is_taken_in(tmp_path: Path) -> None:
    said = {"log": LOG, "validation": VALIDATION, "stopped_early": False, "steps": 20, "tokens": 900, "answer_tokens": 300,
            "seconds": 3.5, "tokens_per_second": 257.1, "rows": 7, "rows_left_out": {"too long": 2}, "parameters": 50,
            "learnt_parameters": 5, "best": {"step": 20, "loss": 1.0}, "start": START, "options": {"rank": 8},
            "distillation": {"source": "labels", "positions": 9, "answer_tokens": 10, "rows_left_out": {"cut": 1}}}  # fmt: skip
    assert read_training(written(tmp_path, json.dumps(said))) == {
        **{name: value for name, value in said.items() if name not in ("log", "options")},
        "loss": [{"step": 10, "loss": 2.5}, {"step": 20, "loss": 1.25}],
        "validation": [{"step": 10, "loss": 2.0, "accuracy": 0.4}, {"step": 20, "loss": 1.0}],
    }


@pytest.mark.parametrize("said", [3, {}, {"source": "friends"}, {"source": ["labels"]}, [{"source": "labels"}]])
def test_a_distillation_from_nobody_known_is_passed_over(said: Any) -> None:
    assert "distillation" not in told(steps=3, distillation=said)
    assert told(steps=3, distillation={"source": "student", "positions": -3})["distillation"] == {
        "source": "student", "positions": None, "answer_tokens": None, "rows_left_out": {},
    }  # fmt: skip


def test_a_trainer_may_leave_nothing(tmp_path: Path) -> None:
    assert read_training(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '"log"', "{}", '{"log": 3, "best": [], "rows_left_out": [1]}', "[" * 100_000, b"\xff\xfe{}", "9" * 9_000],
)
def test_a_file_that_says_nothing_of_use_is_passed_over(tmp_path: Path, text: str | bytes) -> None:
    assert read_training(written(tmp_path, text)) is None


def test_a_file_that_is_too_large_or_no_file_is_not_read(tmp_path: Path) -> None:
    assert read_training(written(tmp_path, b'{"steps": 3}'.ljust(MAX_BYTES))) is not None
    assert read_training(written(tmp_path, b'{"steps": 3}'.ljust(MAX_BYTES + 1))) is None
    (tmp_path / "training.json").unlink()
    os.mkfifo(tmp_path / "training.json")  # nobody writes into it: reading would wait for ever
    assert read_training(tmp_path) is None


def test_entries_without_a_step_or_a_number_are_passed_over() -> None:
    steps = [{"step": step, "loss": 1.0} for step in (-1, 1.5, "1", True, None, 10**400)]
    losses = [{"step": 2, "loss": loss} for loss in (float("nan"), float("inf"), "low", None, False, 10**400)]
    bad = [None, 3, {}, {"step": 1}, {"loss": 1.0}, *steps, *losses]
    assert told(log=[*bad, *LOG])["loss"] == [{"step": 10, "loss": 2.5}, {"step": 20, "loss": 1.25}]


def test_counts_that_are_no_counts_are_not_known() -> None:
    found = told(
        steps=-3, tokens=float("nan"), rows="7", parameters=2.5, learnt_parameters=True, seconds=-1.0, answer_tokens=4.0
    )
    assert found["answer_tokens"] == 4
    assert {found[name] for name in ("steps", "tokens", "rows", "parameters", "learnt_parameters", "seconds")} == {None}


def test_steps_that_are_out_of_order_are_sorted_and_of_two_the_later_counts() -> None:
    found = told(log=[{"step": 20, "loss": 9.0}, {"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.0}])
    assert found["loss"] == [{"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.0}]


def test_the_best_validation_is_the_trainers_choice_else_the_lowest() -> None:
    assert told(validation=VALIDATION, best={"step": 10})["best"]["step"] == 10
    for best in (None, {"step": 15}, {"loss": 0.1}, [], "20"):
        assert told(validation=VALIDATION, best=best)["best"] == {"step": 20, "loss": 1.0}
    assert told(log=LOG, best={"step": 10, "loss": 0.5})["best"] is None, "a best of no validations"


def test_a_long_training_log_is_averaged_as_if_it_were_logged_less_often() -> None:
    loss = told(log=[{"step": step, "loss": step % 2} for step in range(1, 100_001)])["loss"]
    assert len(loss) == MAX_POINTS
    assert (loss[0], loss[-1]) == ({"step": 1, "loss": 1}, {"step": 100_000, "loss": 0})
    assert all(0.49 < point["loss"] < 0.51 for point in loss[1:-1])
    steps = [point["step"] for point in loss]
    assert steps == sorted(set(steps))


def test_a_long_list_of_validations_is_thinned_and_keeps_its_ends_and_its_best() -> None:
    validation = [{"step": step, "validation_loss": abs(step - 777) + 1} for step in range(5_000)]
    found = told(validation=validation)
    assert len(found["validation"]) <= MAX_POINTS
    assert {0, 777, 4_999} <= {point["step"] for point in found["validation"]}
    assert found["best"] == {"step": 777, "loss": 1}


def test_reasons_are_few_and_short_and_carry_no_half_signs() -> None:
    found = told(rows_left_out={"x" * 9_000: 1, "\ud800": 5, "none": 0, "bad": "3", **{f"reason {i}": 2 for i in range(50)}})
    assert len(found["rows_left_out"]) == MAX_REASONS
    assert next(iter(found["rows_left_out"].items())) == ("?", 5)
    assert told(rows_left_out={"x" * 9_000: 1})["rows_left_out"] == {"x" * MAX_REASON: 1}


def test_an_accuracy_that_is_no_share_is_left_out() -> None:
    for accuracy in (-0.1, 1.1, float("nan"), "1", None):
        validation = [{"step": 1, "validation_loss": 1.0, "validation_accuracy": accuracy}]
        assert told(validation=validation)["validation"] == [{"step": 1, "loss": 1.0}]


numbers = st.one_of(
    st.integers(), st.floats(), st.integers(-5, 30), st.floats(0, 1), st.just(10**400), st.booleans(), st.none()
)
values = st.recursive(
    st.one_of(numbers, st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=6), st.dictionaries(st.one_of(st.sampled_from([*KEYS, *NUMBERS]), st.text()), inner)
    ),
    max_leaves=25,
)
entries = st.lists(
    st.one_of(values, st.fixed_dictionaries(dict.fromkeys(NUMBERS, numbers), optional=dict.fromkeys(PARTS, numbers))),
    max_size=12,
)
records = st.fixed_dictionaries({}, optional={name: st.one_of(values, entries) for name in KEYS})


@settings(max_examples=60, deadline=None)
@given(st.one_of(values, records))
def test_no_record_whatever_it_says_keeps_a_report_from_being_made(said: Any) -> None:
    report = build_report(RunFacts(recipe="x", rows={}, training=accepted(said)))
    VALIDATOR.validate(json.loads(json.dumps(report, allow_nan=False)))
    assert markdown(report).encode()
    made = page(report)
    assert made.encode()
    assert not re.search(r'="[^"]*\b(nan|inf)\b', made)


@pytest.mark.parametrize("start", [7, [], {}, {"init": "magic"}, {"layers": {"before": 1, "after": 1}}])
def test_a_beginning_that_makes_no_sense_is_passed_over(start: Any) -> None:
    assert "start" not in told(steps=1, start=start)


def test_sizes_of_a_beginning_that_make_no_sense_are_passed_over() -> None:
    sizes = {
        "layers": {"before": 4},
        "vocabulary": {"before": -1, "after": 2},
        "hidden_size": 7,
        "head_bytes": {"before": 8, "after": 4},
    }
    assert told(steps=1, start={"init": "random", **sizes})["start"] == {
        "init": "random",
        "head_bytes": {"before": 8, "after": 4},
    }
