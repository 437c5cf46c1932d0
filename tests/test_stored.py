"""What labelling stored beside an answer's text reaches the trainers that ask for it, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from pillm.backends import Teacher, TrainingData
from pillm.progress import Progress
from pillm.records import Answer, Example, Failure, Request
from pillm.rowfiles import Rows
from pillm.rows import read_examples
from pillm.stages.labelling import Labelled, label
from pillm.stages.stored import StoredAnswers, store_of
from pillm.stages.training import Training, forecast, train
from pillm.store import read_manifest
from pillm.testing import TableTrainer, sample_examples

PLACES = (((7, -0.1), (8, -2.5)), ((2, -0.01), (9, -5.0)))


class Counting(Teacher):
    """Answers with two tokens, and says how likely they were."""

    name: ClassVar[str] = "counting"
    more: float = 0.0

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        places = tuple(tuple((token, value - self.more) for token, value in place) for place in PLACES)
        for request in requests:
            yield request, Answer("fine", token_ids=(7, 2), logprobs=places, tokenizer_hash="t")


class Distilling(TableTrainer):
    """Wants what was stored, and writes down what it was given."""

    name: ClassVar[str] = "distilling"
    seen: ClassVar[list[TrainingData]] = []
    stored: ClassVar[list[Example]] = []
    wants: bool = True

    def wants_stored(self) -> bool:
        return self.wants

    def train(self, data: TrainingData, out: Path, progress: Progress) -> None:
        Distilling.seen.append(data)
        Distilling.stored[:] = [*(data.stored or ()), *(data.stored or ())]
        super().train(data, out, progress)


@pytest.fixture
def labelled(tmp_path: Path) -> Labelled:
    return label([example.prompt for example in sample_examples()], Counting(), tmp_path / "label")


def key_of(folder: Path) -> str:
    return str((read_manifest(folder) or {})["key"])


def test_a_trainer_that_asks_gets_the_whole_answers_as_often_as_it_reads_them(labelled: Labelled, tmp_path: Path) -> None:
    train(labelled, Distilling(), tmp_path / "train")
    rows = list(labelled)
    assert [row.prompt.id for row in Distilling.stored] == [row.prompt.id for row in rows] * 2
    assert {row.answer.logprobs for row in Distilling.stored} == {PLACES}
    assert {row.answer.token_ids for row in Distilling.stored} == {(7, 2)}
    assert {row.key for row in Distilling.stored} == {row.key for row in rows}


def test_what_is_stored_comes_without_the_truth_and_without_other_sides(tmp_path: Path) -> None:
    sides = ("train", "validation", "test", None)
    prompts = [replace(one.prompt, split=side) for one, side in zip(sample_examples(), sides, strict=True)]
    assert any(prompt.reference for prompt in prompts)
    labelled = label(prompts, Counting(), tmp_path / "label")
    train(labelled, Distilling(), tmp_path / "train")
    told = {row.prompt.id for row in labelled if row.prompt.split in ("train", None)}
    assert {row.prompt.id for row in Distilling.stored} == told
    assert 0 < len(told) < len(labelled)
    assert all(row.prompt.reference is None for row in Distilling.stored)
    given = [Example(prompt=prompt, answer=Answer("fine", token_ids=(7, 2), logprobs=PLACES)) for prompt in prompts]
    train(given, Distilling(), tmp_path / "held")
    assert {row.prompt.id for row in Distilling.stored} == {prompts[0].id, prompts[3].id}
    assert {row.answer.logprobs for row in Distilling.stored} == {PLACES}
    assert all(row.prompt.reference is None and row.prompt.given is None for row in Distilling.stored)


def test_nobody_else_is_given_it(labelled: Labelled, tmp_path: Path) -> None:
    train(labelled, Distilling(wants=False), tmp_path / "train")
    assert Distilling.seen[-1].stored is None


def test_where_nothing_was_stored_there_is_none(tmp_path: Path) -> None:
    train(sample_examples(), Distilling(), tmp_path / "train")
    assert Distilling.seen[-1].stored is None


def test_rows_read_from_a_file_find_their_answers_where_they_are_told(labelled: Labelled, tmp_path: Path) -> None:
    rows = read_examples(labelled.path)
    assert store_of(rows, None) is None
    store = store_of(Rows(labelled.path), None)
    assert store == labelled.path.parent / "answers.sqlite"
    train(rows, Distilling(), tmp_path / "train", settings=Training(answers=store))
    assert {row.answer.logprobs for row in Distilling.stored} == {PLACES}
    before = key_of(tmp_path / "train")
    train(labelled, Distilling(), tmp_path / "train")
    assert key_of(tmp_path / "train") == before


def test_a_row_that_the_store_does_not_know_keeps_its_own_answer(labelled: Labelled) -> None:
    other = replace(next(iter(labelled)), key="v1:unknown", answer=Answer("mine"))
    stored = StoredAnswers(labelled.path.parent / "answers.sqlite", [other, replace(other, key="")])
    assert [row.answer.content for row in stored] == ["mine", "mine"]


def test_a_training_is_made_anew_when_what_was_stored_is_other(tmp_path: Path) -> None:
    def held(value: float) -> list[Example]:
        return [
            replace(row, answer=replace(row.answer, token_ids=(7,), logprobs=(((7, value),),))) for row in sample_examples()
        ]

    def key(name: str, rows: list[Example], **options: bool) -> str:
        train(rows, Distilling(**options), tmp_path / name)
        return key_of(tmp_path / name)

    assert key("a", held(-0.1)) == key("b", held(-0.1)) != key("c", held(-0.2))
    assert key("d", held(-0.1), wants=False) == key("e", held(-0.2), wants=False)


def test_stores_with_other_log_probabilities_make_other_keys(tmp_path: Path) -> None:
    keys = set()
    for name, more in (("one", 0.0), ("two", 1.0)):
        rows = label([one.prompt for one in sample_examples()], Counting(more=more), tmp_path / name)
        same = [replace(row, key="") for row in rows]  # as if nothing but the store told them apart
        keyed = [replace(row, key=old.key) for row, old in zip(same, rows, strict=True)]
        train(keyed, Distilling(), tmp_path / f"{name}-train", settings=Training(answers=tmp_path / name / "answers.sqlite"))
        keys.add(key_of(tmp_path / f"{name}-train"))
    assert len(keys) == 2


def test_a_forecast_is_given_it_too(labelled: Labelled) -> None:
    class Foreseeing(Distilling):
        """Counts what it is given."""

        name: ClassVar[str] = "foreseeing"

        def forecast(self, data: TrainingData) -> None:
            Distilling.stored[:] = list(data.stored or ())

    forecast(labelled, Foreseeing())
    assert len(Distilling.stored) == len(labelled)
