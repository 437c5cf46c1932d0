"""What several machines labelled is joined to what one would have made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from pillm.errors import DataError
from pillm.rows import PromptFile
from pillm.stages.labelling import FAILED, LABELLED, REJECTED, Labelling, label
from pillm.stages.merging import merge
from pillm.testing import EchoTeacher
from pillm.verification import verify

SCHEMA = {"type": "object"}


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    rows = [
        {"id": f"r{i}", "user": '{"n": 1}' if i % 7 else f"not json {i}", "schema": SCHEMA, "tags": [str(i)]} for i in range(60)
    ]
    rows += [{"user": f"without an id {i % 20}"} for i in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def parts(prompts: Path, folder: Path, count: int) -> list[Path]:
    for number in range(1, count + 1):
        label(PromptFile(prompts), EchoTeacher(), folder / str(number), settings=Labelling(shard=(number, count)))
    return [folder / str(number) for number in range(1, count + 1)]


def test_four_parts_merge_to_the_bytes_of_one_run(prompts: Path, tmp_path: Path) -> None:
    whole = label(PromptFile(prompts), EchoTeacher(), tmp_path / "whole")
    shards = parts(prompts, tmp_path, 4)
    merged = merge(PromptFile(prompts), [shards[2], shards[0], shards[3], shards[1]], tmp_path / "merged")
    assert merged.counts == whole.counts
    assert whole.counts.rejected > 5
    for name in (LABELLED, REJECTED):
        assert (tmp_path / "merged" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "merged" / FAILED).exists()
    assert verify(tmp_path / "merged") == []


def test_what_was_merged_goes_on_and_asks_nothing_again(prompts: Path, tmp_path: Path) -> None:
    shards = parts(prompts, tmp_path, 2)
    merge(PromptFile(prompts), shards, tmp_path / "merged")

    class Deaf(EchoTeacher):
        """Must not be asked."""

        def answer(self, requests):  # type: ignore[no-untyped-def]
            raise AssertionError("asked")

    again = label(PromptFile(prompts), Deaf(), tmp_path / "merged")
    assert again.counts.pending == 0


def test_a_missing_a_doubled_and_a_foreign_part_are_named(prompts: Path, tmp_path: Path) -> None:
    one, two = parts(prompts, tmp_path, 2)
    with pytest.raises(DataError, match="part 1 of 2, and 1 folders were given"):
        merge(PromptFile(prompts), [one], tmp_path / "merged")
    with pytest.raises(DataError, match="Give each of the 2 parts once"):
        merge(PromptFile(prompts), [one, one], tmp_path / "merged")
    label(PromptFile(prompts), EchoTeacher(), tmp_path / "whole")
    with pytest.raises(DataError, match="not what `pillm label --shard"):
        merge(PromptFile(prompts), [one, tmp_path / "whole"], tmp_path / "merged")
    label(PromptFile(prompts), EchoTeacher(script={"a": "b"}), tmp_path / "other", settings=Labelling(shard=(2, 2)))
    with pytest.raises(DataError, match="their backends differ"):
        merge(PromptFile(prompts), [one, tmp_path / "other"], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    assert two.exists()


def test_a_damaged_part_and_other_prompts_are_refused(prompts: Path, tmp_path: Path) -> None:
    one, two = parts(prompts, tmp_path, 2)
    broken = shutil.copytree(one, tmp_path / "broken")
    (broken / LABELLED).write_bytes((broken / LABELLED).read_bytes()[:-1])
    with pytest.raises(DataError, match=r"is damaged: labelled\.jsonl was changed"):
        merge(PromptFile(prompts), [broken, two], tmp_path / "merged")
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text("".join(prompts.read_text().splitlines(keepends=True)[3:]))
    with pytest.raises(DataError, match="which the prompts do not hold in that place"):
        merge(PromptFile(fewer), [one, two], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
