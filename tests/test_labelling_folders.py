"""The folder of a labelling: nobody else's is touched, a damaged one is mended, a full disk is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from pillm.contract import Contract
from pillm.errors import ConfigError, StorageError
from pillm.records import Answer, Failure, Request
from pillm.stages.labelling import forecast, label
from pillm.stages.training import train
from pillm.testing import EchoTeacher, TableTrainer
from pillm.verification import verify
from tests.questions import Counting, prompts


def test_no_manifest_vouches_for_a_store_that_is_being_written(tmp_path: Path) -> None:
    class Crashes(EchoTeacher):
        """Breaks in the middle."""

        name: ClassVar[str] = "crashes"

        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            yield next(requests), Answer("one")
            raise RuntimeError

    label(prompts(1), EchoTeacher(), tmp_path)
    with pytest.raises(RuntimeError):
        label(prompts(3), Crashes(), tmp_path)
    assert not (tmp_path / "manifest.json").exists()


def test_a_full_disk_under_the_store_is_told_with_the_remedy(tmp_path: Path) -> None:
    from pillm.answers import AnswerStore

    rows = prompts(1)
    request = Contract().request(rows[0], {})
    with AnswerStore(tmp_path / "a.sqlite") as store:
        store._db.execute("PRAGMA max_page_count=1")
        with pytest.raises(StorageError, match="no space is left"):
            for _ in range(10_000):
                store.answered(request, store.sent(request, teacher="echo", version="1"), Answer("x" * 5000))


def test_a_folder_that_label_did_not_make_is_left_as_it_was(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("manifest.json", "failed.jsonl", "labelled.jsonl"):
        (mine / name).write_text('{"name": "my own"}', "utf-8")
    for ask in (label, forecast):
        with pytest.raises(ConfigError, match=r"mine was not made by pillm.*left alone\. Choose another --out"):
            ask(prompts(1), EchoTeacher(), mine)
    assert {path.name: path.read_text("utf-8") for path in mine.iterdir()} == dict.fromkeys(
        ("manifest.json", "failed.jsonl", "labelled.jsonl"), '{"name": "my own"}'
    )


def test_a_checkpoint_is_not_labelled_over(tmp_path: Path) -> None:
    train(label(prompts(2), EchoTeacher(), tmp_path / "label"), TableTrainer(), tmp_path / "train")
    with pytest.raises(ConfigError, match="train holds what `train` made"):
        label(prompts(1), EchoTeacher(), tmp_path / "train")
    assert verify(tmp_path / "train") == []


def test_a_labelling_that_was_killed_goes_on_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / ".lock").write_text("")  # killed before the store was there
    assert label(prompts(1), Counting(), tmp_path / "early").counts.answered == 1
    (tmp_path / "early" / "manifest.json").unlink()  # killed while it was being written
    again = Counting()
    assert label(prompts(2), again, tmp_path / "early").counts.answered == 2
    assert again.asked == ["r1"]


@pytest.mark.parametrize("name", ["labelled.jsonl", "manifest.json", "contract.json"])
def test_labelling_again_over_a_damaged_file_mends_it_and_buys_nothing(tmp_path: Path, name: str) -> None:
    label(prompts(2), Counting(), tmp_path)
    good = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(b"\xff" + good[1:])
    again = Counting()
    label(prompts(2), again, tmp_path)
    assert again.asked == []
    assert verify(tmp_path) == []


def test_label_works_in_the_folder_it_is_called_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    label(prompts(1), EchoTeacher(), ".")
    assert label(prompts(1), EchoTeacher(), ".").up_to_date
