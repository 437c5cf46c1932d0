"""Training that distils, from options to a checkpoint: each source learns, is told of, refused where need be, and resumes."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import Full, HFTeacher, LoRA
from pillm_hf.distilling import preparing, scoring
from pillm_hf.trainers.job import train
from pillm_hf.training import students
from pillm_hf_taught import FAST, SOURCES, K, options, run, widened

import pillm


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("trainer", [LoRA, Full])
def test_every_source_brings_the_student_nearer_to_its_teacher(
    trainer: type[LoRA] | type[Full], kind: str, base: Path, taught: pillm.TrainingData, tmp_path: Path
) -> None:
    log, told = run(trainer(base=str(base), **options(kind, weight=1.0)), taught, tmp_path / "out")
    name = "on_policy_divergence" if kind == "student" else "divergence"
    found = [entry[name] for entry in log["log"] if name in entry]
    assert found[-1] < found[0]
    said = log["distillation"]
    assert said["source"] == SOURCES[kind]["source"]
    assert said["positions"] == said["answer_tokens"] > 100
    assert any("answer tokens have a teacher's distribution" in message for message in told)
    if kind != "labels":
        assert said["teacher"].startswith("sha256:")
    if kind in ("labels", "ahead", "draws"):
        assert said["k"] == SOURCES[kind].get("k", K)
        assert said["rows"] == 20
    assert not (tmp_path / "out" / preparing.FOLDER).exists()


def test_progress_tells_the_cross_entropy_that_validations_measure_beside_the_loss(
    base: Path, taught: pillm.TrainingData, tmp_path: Path
) -> None:
    seen: list[pillm.Event] = []
    trainer = Full(base=str(base), **options("labels", weight=0.3))
    train(trainer, taught, tmp_path, pillm.Progress("train", (seen.append,)))
    log = json.loads((tmp_path / "training.json").read_text("utf-8"))["log"]
    told = [(event.figures["loss"], event.figures["cross_entropy"]) for event in seen if "loss" in event.figures]
    assert told == [(entry["loss"], entry["cross_entropy"]) for entry in log]


@pytest.mark.parametrize("kind", SOURCES)
def test_the_parts_of_the_loss_are_logged_and_add_up(kind: str, base: Path, taught: pillm.TrainingData, tmp_path: Path) -> None:
    log, _ = run(Full(base=str(base), **options(kind, weight=0.3)), taught, tmp_path)
    mixed = [entry for entry in log["log"] if "divergence" in entry]
    assert mixed
    for entry in mixed:
        assert entry["loss"] == pytest.approx(0.3 * entry["divergence"] + 0.7 * entry["cross_entropy"], rel=1e-4)
    own = [entry for entry in log["log"] if "on_policy_divergence" in entry]
    assert bool(own) == (kind == "student")
    assert all(entry["loss"] == pytest.approx(entry["on_policy_divergence"], rel=1e-4) for entry in own)


@pytest.mark.parametrize("trainer", [LoRA, Full])
def test_with_a_share_near_zero_of_the_divergence_it_is_nearly_plain_training(
    trainer: type[LoRA] | type[Full], base: Path, taught: pillm.TrainingData, tmp_path: Path
) -> None:
    plain, _ = run(trainer(base=str(base), **FAST), taught, tmp_path / "plain")
    zero, _ = run(trainer(base=str(base), **options("labels", weight=1e-6)), taught, tmp_path / "zero")
    assert "distillation" not in plain
    assert {"step", "loss", "learning_rate", "seconds"} == plain["log"][0].keys()
    for one, other in zip(plain["log"], zero["log"], strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-4)


def test_labels_and_the_same_teacher_in_memory_teach_nearly_the_same(
    base: Path, teacher: Path, taught: pillm.TrainingData, tmp_path: Path
) -> None:
    ahead, _ = run(Full(base=str(base), **options("ahead", k=K, weight=1.0)), taught, tmp_path / "ahead")
    labels, _ = run(Full(base=str(base), **options("labels", weight=1.0)), taught, tmp_path / "labels")
    for one, other in zip(ahead["log"], labels["log"], strict=True):
        assert one["divergence"] == pytest.approx(other["divergence"], rel=0.02)
    whole, _ = run(Full(base=str(base), **options("teacher", weight=1.0)), taught, tmp_path / "whole")
    assert whole["log"][0]["divergence"] >= labels["log"][0]["divergence"]


@pytest.mark.full
def test_a_student_with_more_columns_than_its_teacher_learns_too(
    base: Path, taught: pillm.TrainingData, tmp_path: Path
) -> None:
    wide = widened(base, tmp_path / "wide", 448)
    narrow = replace(taught, teacher=HFTeacher(model=str(base)))
    for kind in ("labels", "teacher", "draws"):
        log, _ = run(Full(base=str(wide), **options(kind)), narrow, tmp_path / kind)
        assert log["log"][-1]["loss"] < log["log"][0]["loss"]


def test_rows_without_targets_are_learnt_from_their_labels_and_counted(
    base: Path, taught: pillm.TrainingData, tmp_path: Path
) -> None:
    assert taught.stored is not None
    some = [
        replace(row, answer=replace(row.answer, logprobs=None)) if number < 5 else row
        for number, row in enumerate(taught.stored)
    ]
    log, told = run(LoRA(base=str(base), **options("labels")), replace(taught, stored=some), tmp_path)
    said = log["distillation"]
    assert said["rows"] == 15
    assert sum(said["rows_left_out"].values()) == 5
    assert 0 < said["positions"] < said["answer_tokens"]
    assert any("5 rows are learnt from their labels alone: the answer is stored without log-prob" in text for text in told)


def test_labels_that_do_not_fit_are_refused_with_their_counts(base: Path, taught: pillm.TrainingData, tmp_path: Path) -> None:
    def refused(reason: str, data: pillm.TrainingData, **more: Any) -> None:
        with pytest.raises(pillm.DataError, match=reason):
            run(LoRA(base=str(base), **options("labels", **more)), data, tmp_path / "out")

    assert taught.stored is not None
    rows = list(taught.stored)
    few = [replace(row, answer=replace(row.answer, logprobs=None)) for row in rows[:11]]
    refused("the rows come without them", replace(taught, stored=None))
    refused(r"only 9 of 20 rows .*11 rows: the answer is stored without log-prob", replace(taught, stored=few + rows[11:]))
    other = [replace(row, answer=replace(row.answer, tokenizer_hash="other")) for row in rows]
    refused(r"20 rows: the teacher has another tokenizer.*cross-tokenizer option", replace(taught, stored=other))
    assert not (tmp_path / "out" / "adapter").exists()


def test_a_teacher_is_needed_and_must_write_with_the_students_tokens(
    base: Path, make: Callable[..., Path], taught: pillm.TrainingData, tmp_path: Path
) -> None:
    other = make(tmp_path / "other")
    tokens = json.loads((other / "tokenizer.json").read_text("utf-8"))
    tokens["model"]["merges"] = tokens["model"]["merges"][:-1]
    (other / "tokenizer.json").write_text(json.dumps(tokens), "utf-8")
    for kind in ("teacher", "ahead", "student"):
        with pytest.raises(pillm.ConfigError, match="there is no teacher `hf`"):
            run(LoRA(base=str(base), **options(kind)), replace(taught, teacher=None), tmp_path / "out")
        with pytest.raises(pillm.DataError, match=r"another tokenizer than the student.*cross-tokenizer option"):
            run(LoRA(base=str(base), **options(kind, teacher=str(other))), taught, tmp_path / "out")


def test_a_teacher_with_more_than_padding_beyond_is_refused(base: Path, taught: pillm.TrainingData, tmp_path: Path) -> None:
    small = widened(base, tmp_path / "small", 300)  # fewer columns than the tokenizer has tokens
    with pytest.raises(pillm.DataError, match="more than padding differs"):
        run(LoRA(base=str(base), **options("teacher", teacher=str(small))), taught, tmp_path / "out")


@pytest.mark.parametrize("kind", ["ahead", "draws"])
def test_a_teacher_that_scores_ahead_is_given_up_before_the_student_is_loaded(
    kind: str, base: Path, taught: pillm.TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers: list[weakref.ref[Any]] = []
    load, build = scoring.load_adapted, students.build

    def loading(*args: Any, **more: Any) -> Any:
        model = load(*args, **more)
        teachers.append(weakref.ref(model))
        return model

    def building(*args: Any) -> Any:
        assert [teacher() for teacher in teachers] == [None]
        return build(*args)

    monkeypatch.setattr(scoring, "load_adapted", loading)
    monkeypatch.setattr(students, "build", building)
    run(LoRA(base=str(base), **options(kind)), taught, tmp_path / "out")
    assert len(teachers) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_nonsense_stops_a_distillation_before_anything_worse_is_saved(
    base: Path, taught: pillm.TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    from pillm_hf.losses.lessons import Lesson

    plain, calls = Lesson.learn, []

    def harmed(self: Lesson, *args: Any) -> torch.Tensor:
        calls.append(1)
        found = plain(self, *args)
        if len(calls) == 11:
            self._cross_entropy = self._cross_entropy * value
            found = found * value
        return found

    monkeypatch.setattr(Lesson, "learn", harmed)
    with pytest.raises(pillm.BackendError, match=r"at step 6; the step was not taken"):
        run(LoRA(base=str(base), **options("labels")), taught, tmp_path)


@pytest.mark.full
def test_it_works_with_recomputed_activations_and_4_bit(base: Path, taught: pillm.TrainingData, tmp_path: Path) -> None:
    from pillm_hf import QLoRA

    for kind, trainer, more in (("student", LoRA, {"gradient_checkpointing": True}), ("labels", QLoRA, {})):
        log, _ = run(trainer(base=str(base), **options(kind) | more), taught, tmp_path / kind)
        assert log["log"][-1]["loss"] < log["log"][0]["loss"]
