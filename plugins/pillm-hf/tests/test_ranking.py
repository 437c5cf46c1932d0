"""Learning from a teacher with another tokenizer: ranks, where both wrote the same text, from labels or from its model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import Full, HFTeacher
from pillm_hf.models.loading import load_model
from pillm_hf.rows.opening import load_chat
from pillm_hf.trainers.job import train

import pillm

FAST = {"num_train_epochs": 3, "per_device_train_batch_size": 4, "learning_rate": 5e-3, "logging_steps": 1, "dtype": "float32"}


@pytest.fixture(scope="session")
def student(make: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a base that writes the same texts in other, mostly smaller, tokens."""
    folder = make(tmp_path_factory.mktemp("student") / "tiny", seed=3)
    tokens = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    tokens["model"]["merges"] = tokens["model"]["merges"][:12]
    (folder / "tokenizer.json").write_text(json.dumps(tokens), "utf-8")
    return folder


def stored(folder: Path, pairs: list[tuple[str, str]], *, ended: bool = True) -> list[pillm.Example]:
    """Return rows with what a teacher would have said at each token of the given answers."""
    chat, model = load_chat(folder), load_model(folder, torch.float32)
    made = []
    for number, (ask, said) in enumerate(pairs):
        prompt = pillm.Prompt(id=f"r{number}", messages=({"role": "user", "content": ask},))
        asked = chat.encode([chat.prompt(prompt.messages)])[0]
        ids = (*chat.encode([said])[0], *([chat.end_of_turn.id] if ended else []))
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[*asked, *ids]])).logits[0, len(asked) - 1 : -1]
        best = logits.log_softmax(-1).topk(32)
        places = tuple(tuple(zip(*each, strict=True)) for each in zip(best.indices.tolist(), best.values.tolist(), strict=True))
        answer = pillm.Answer(said, token_ids=ids, logprobs=places, tokenizer_hash=chat.tokenizer_hash)
        made.append(pillm.Example(prompt=prompt, answer=answer))
    return made


def run(student: Path, data: pillm.TrainingData, out: Path, **distill: Any) -> dict[str, Any]:
    out.mkdir()
    options = {**FAST, "distill": {"cross_tokenizer": True, **distill}}
    train(Full(base=str(student), **options), data, out, pillm.Progress())
    found: dict[str, Any] = json.loads((out / "training.json").read_text("utf-8"))
    return found


@pytest.fixture
def taught(data: pillm.TrainingData, base: Path, pairs: list[tuple[str, str]]) -> pillm.TrainingData:
    return replace(data, teacher=HFTeacher(model=str(base)), stored=stored(base, pairs))


def test_labels_and_the_teachers_model_teach_the_same(student: Path, taught: pillm.TrainingData, tmp_path: Path) -> None:
    labels = run(student, taught, tmp_path / "labels", weight=1.0)
    model = run(student, replace(taught, stored=None), tmp_path / "model", source="teacher", weight=1.0)
    for log in (labels, model):
        assert log["log"][-1]["divergence"] < log["log"][0]["divergence"] < 2
        assert 0 < log["distillation"]["positions"] < log["distillation"]["answer_tokens"]
        assert log["distillation"]["k"] == 32
        assert log["distillation"]["bytes_per_token"] < 128
    assert labels["distillation"]["positions"] == model["distillation"]["positions"]
    for one, other in zip(labels["log"], model["log"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)


def test_it_is_refused_without_the_option(student: Path, taught: pillm.TrainingData, tmp_path: Path) -> None:
    for number, source in enumerate(("labels", "teacher", "student")):
        with pytest.raises(pillm.DataError, match=r"another tokenizer.*cross-tokenizer option"):
            run(student, taught, tmp_path / str(number), cross_tokenizer=False, source=source)


def test_an_end_of_turn_that_a_server_did_not_tell_is_learnt_from_its_label(
    student: Path, base: Path, taught: pillm.TrainingData, pairs: list[tuple[str, str]], tmp_path: Path
) -> None:
    whole = run(student, taught, tmp_path / "whole")["distillation"]
    cut = run(student, replace(taught, stored=stored(base, pairs, ended=False)), tmp_path / "cut")["distillation"]
    assert whole["rows"] == cut["rows"] == 20
    assert cut["positions"] == whole["positions"] - 20


def test_other_texts_and_other_tokens_are_counted_and_refused(
    student: Path, taught: pillm.TrainingData, tmp_path: Path
) -> None:
    assert taught.stored is not None
    rows = list(taught.stored)
    other = [replace(row, answer=replace(row.answer, content=row.answer.content.upper())) for row in rows[:3]]
    swapped = [replace(one, answer=rows[at + 4].answer) for at, one in enumerate(rows[3:5])]
    said = run(student, replace(taught, stored=[*other, *swapped, *rows[5:]]), tmp_path / "some")["distillation"]
    assert said["rows"] == 15
    assert said["rows_left_out"] == {
        "the stored token ids are not those of the named teacher's tokenizer": 3,
        "the teacher's answer is another text than the student's": 2,
    }
    silent = [replace(row, answer=replace(row.answer, logprobs=None)) for row in rows[:11]]
    with pytest.raises(pillm.DataError, match=r"only 9 of 20 rows .*11 rows: the answer is stored without token ids or log"):
        run(student, replace(taught, stored=[*silent, *rows[11:]]), tmp_path / "few")
