"""Training hands a trainer what it may see, and checks what it wrote."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from pillm.artifacts import Checkpoint
from pillm.backends import TrainingData
from pillm.contract import Contract
from pillm.errors import BackendError, ConfigError, DataError
from pillm.progress import Event, Progress
from pillm.records import Example
from pillm.stages.labelling import Labelling, label
from pillm.stages.training import Training, checkpoint_key, train
from pillm.store import read_manifest
from pillm.testing import EchoTeacher, TableTrainer, sample_examples
from pillm.verification import verify


class Unasked(TableTrainer):
    """Must not be asked."""

    name: ClassVar[str] = "unasked"

    def train(self, data: TrainingData, out: Path, progress: Progress) -> None:
        pytest.fail("work was begun")


class Watching(TableTrainer):
    """Learns, and writes down what it was given."""

    name: ClassVar[str] = "watching"
    seen: ClassVar[list[TrainingData]] = []
    rows: ClassVar[list[Example]] = []

    def train(self, data: TrainingData, out: Path, progress: Progress) -> None:
        Watching.seen.append(data)
        Watching.rows = [*data.train, *data.validation, *data.calibration]
        super().train(data, out, progress)


class Choosy(TableTrainer):
    """Learns from all rows but the first, and says that it left so many out."""

    name: ClassVar[str] = "choosy"
    told: int = 1

    def train(self, data: TrainingData, out: Path, progress: Progress) -> None:
        super().train(data, out, progress)
        said = {"rows": len(data.train) - 1, "rows_left_out": {"longer than max_length": self.told} if self.told else {}}
        (out / "training.json").write_text(json.dumps(said), "utf-8")


def events_of(trainer: TableTrainer, out: Path) -> list[tuple[str, str]]:
    seen: list[Event] = []
    train(sample_examples(), trainer, out, progress=Progress("train", (seen.append,)))
    return [(event.kind, event.message) for event in seen if event.kind in ("warning", "finish")]


def examples(*sides: str | None) -> list[Example]:
    rows = sample_examples()
    return [replace(row, prompt=replace(row.prompt, split=side)) for row, side in zip(rows, sides, strict=True)]


def test_a_trainer_never_sees_a_reference_or_a_test_row(tmp_path: Path) -> None:
    train(examples("train", "validation", "test", None), Watching(), tmp_path / "train")
    data = Watching.seen[-1]
    assert (len(data.train), len(data.validation), len(data.calibration)) == (2, 1, 0)
    assert {row.prompt.id for row in Watching.rows} == {"sample-1", "sample-2", "sample-4"}
    assert all(row.prompt.reference is None for row in Watching.rows)


def test_the_checkpoint_carries_contract_probes_and_calibration(tmp_path: Path) -> None:
    rows = examples("train", "train", "calibration", "train")
    settings = Training(contract=Contract(system="Be brief."), probes=tuple(row.prompt for row in rows), seed=4)
    checkpoint = train(rows, TableTrainer(), tmp_path / "train", settings=settings)
    assert checkpoint.contract["system"] == "Be brief."
    assert [probe.id for probe in checkpoint.probes()] == [row.prompt.id for row in rows]
    assert len(checkpoint.calibration()) == 1
    assert verify(tmp_path) == []
    manifest = read_manifest(tmp_path / "train") or {}
    assert (manifest["seed"], manifest["counts"]["train"]) == (4, 3)


def test_rows_that_a_trainer_left_out_are_counted_and_said(tmp_path: Path) -> None:
    told = events_of(Choosy(), tmp_path / "train")
    assert told == [("finish", "trained on 3 rows of 4, 1 left out")]
    counts = (read_manifest(tmp_path / "train") or {})["counts"]
    assert (counts["train"], counts["learnt"], counts["left_out"]) == (4, 3, 1)


def test_rows_that_a_trainer_does_not_account_for_are_warned_of(tmp_path: Path) -> None:
    told = events_of(Choosy(told=0), tmp_path / "train")
    assert ("warning", "trainer 'choosy' accounts for 3 of 4 rows in training.json.") in told


def test_the_same_training_again_is_up_to_date_and_a_changed_option_is_not(tmp_path: Path) -> None:
    before = len(Watching.seen)
    for _ in range(2):
        train(sample_examples(), Watching(), tmp_path / "train")
    assert len(Watching.seen) == before + 1
    train(sample_examples(), Watching(upper=True), tmp_path / "train")
    train(sample_examples(), Watching(upper=True), tmp_path / "train", settings=Training(seed=9))
    assert len(Watching.seen) == before + 3


def test_a_test_row_more_does_not_train_again(tmp_path: Path) -> None:
    before = len(Watching.seen)
    train(examples("train", None, None, None)[:3], Watching(), tmp_path / "train")
    train(examples("train", None, None, "test"), Watching(), tmp_path / "train")
    assert len(Watching.seen) == before + 1


def test_a_trainer_that_writes_no_checkpoint_is_found_out(tmp_path: Path) -> None:
    class Lazy(TableTrainer):
        """Does nothing."""

        name: ClassVar[str] = "lazy"

        def train(self, data: TrainingData, out: Path, progress: Progress) -> None:
            (out / "config.json").write_text("{}")

    with pytest.raises(BackendError, match=r"did not write contract\.json, probes\.jsonl, calibration\.jsonl"):
        train(sample_examples(), Lazy(), tmp_path / "train")
    assert not (tmp_path / "train").exists()


def test_an_interrupted_training_keeps_its_working_folder(tmp_path: Path) -> None:
    class Killed(TableTrainer):
        """Is interrupted once, and resumes."""

        name: ClassVar[str] = "killed"

        def train(self, data: TrainingData, out: Path, progress: Progress) -> None:
            if not (out / "step").exists():
                (out / "step").write_text("1")
                raise KeyboardInterrupt
            super().train(data, out, progress)

    with pytest.raises(KeyboardInterrupt):
        train(sample_examples(), Killed(), tmp_path / "train")
    assert (train(sample_examples(), Killed(), tmp_path / "train").path / "step").exists()


def test_nothing_to_train_on_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows to train on"):
        train(examples("test", "test", "test", "validation"), TableTrainer(), tmp_path / "train")


def test_the_key_of_a_foreign_checkpoint_follows_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"a": 1}))
    before = checkpoint_key(Checkpoint(path=tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"a": 2}))
    assert checkpoint_key(Checkpoint(path=tmp_path)) != before


def test_what_the_label_stage_told_the_teacher_is_told_the_student(tmp_path: Path) -> None:
    told = Contract(schema_in_prompt="text", system="Be brief.")
    rows = [example.prompt for example in sample_examples()]
    labelled = label(rows, EchoTeacher(), tmp_path / "label", settings=Labelling(contract=told))
    checkpoint = train(labelled, TableTrainer(), tmp_path / "train", settings=Training(seed=2))
    assert (checkpoint.contract["schema_in_prompt"], checkpoint.contract["system"]) == ("text", "Be brief.")
    before = read_manifest(tmp_path / "train")
    train(labelled, TableTrainer(), tmp_path / "train", settings=Training(seed=2, contract=told))
    assert read_manifest(tmp_path / "train") == before  # said or recorded, it is the same training


def test_a_contract_that_contradicts_the_label_stage_is_refused(tmp_path: Path) -> None:
    rows = [example.prompt for example in sample_examples()]
    labelled = label(rows, EchoTeacher(), tmp_path / "label", settings=Labelling(contract=Contract(system="Be brief.")))
    with pytest.raises(ConfigError, match=r"system='Be brief\.'.*contract\.json.*system=None"):
        train(labelled, TableTrainer(), tmp_path / "train", settings=Training(contract=Contract()))
    assert not (tmp_path / "train").exists()


def test_what_another_stage_made_is_refused_before_any_work_and_left_whole(tmp_path: Path) -> None:
    rows = [example.prompt for example in sample_examples()]
    labelled = label(rows, EchoTeacher(), tmp_path / "work")
    with pytest.raises(ConfigError, match=r"work holds what `label` made; it is left alone\. Choose another --out"):
        train(labelled, Unasked(), tmp_path / "work")
    assert (tmp_path / "work" / "answers.sqlite").is_file()
    assert verify(tmp_path / "work") == []


def test_a_file_of_the_users_own_keeps_a_checkpoint_from_being_replaced(tmp_path: Path) -> None:
    train(sample_examples(), TableTrainer(), tmp_path / "train")
    (tmp_path / "train" / ".git").mkdir()
    (tmp_path / "train" / ".git" / "HEAD").write_text("mine")
    train(sample_examples(), TableTrainer(), tmp_path / "train")  # up to date: nothing is replaced
    with pytest.raises(ConfigError, match=r"train holds \.git/HEAD, which `train` did not put there"):
        train(sample_examples(), Unasked(upper=True), tmp_path / "train")
    assert (tmp_path / "train" / ".git" / "HEAD").read_text() == "mine"


def test_the_base_is_never_replaced_by_its_own_student(tmp_path: Path) -> None:
    base = train(sample_examples(), TableTrainer(), tmp_path / "train")

    class Continuing(TableTrainer):
        """Goes on from a checkpoint."""

        name: ClassVar[str] = "continuing"

        def base_checkpoint(self, *, fetch: bool = True) -> Checkpoint | None:
            return base

    with pytest.raises(ConfigError, match=r"train holds the base .*Choose another --out"):
        train(sample_examples(), Continuing(), tmp_path / "train")
    assert train(sample_examples(), Continuing(), tmp_path / "more").path == tmp_path / "more"
    assert verify(tmp_path / "train") == []


def test_a_checkpoint_whose_manifest_was_changed_is_trained_anew(tmp_path: Path) -> None:
    before = len(Watching.seen)
    manifest = tmp_path / "train" / "manifest.json"
    for old, new in (('"sha256"', '"sha257"'), ('"bytes"', '"bytez"'), ('"seed": 0', '"seed": 1')):
        train(sample_examples(), Watching(), tmp_path / "train")
        changed = manifest.read_text("utf-8").replace(old, new, 1)
        assert changed != manifest.read_text("utf-8")
        manifest.write_text(changed, "utf-8")
    train(sample_examples(), Watching(), tmp_path / "train")
    assert len(Watching.seen) == before + 4
    assert verify(tmp_path / "train") == []
