"""The rows to label are read as often as they are wanted, and are what they were at first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pillm.errors import ConfigError, DataError
from pillm.records import Prompt
from pillm.rows import PromptFile, prompt_from_row
from pillm.stages import worklist
from pillm.stages.labelling import Labelling, label
from pillm.stages.worklist import Worklist, by_prefix, shard_of
from pillm.testing import DropFilter, EchoTeacher


def write(path: Path, count: int, start: int = 0) -> Path:
    path.write_text("".join(json.dumps({"id": f"r{i}", "user": f"question {i}"}) + "\n" for i in range(start, count)))
    return path


def test_few_rows_are_kept_and_many_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worklist, "KEPT", 5)
    for count, again in ((5, False), (6, True)):
        rows = Worklist(PromptFile(write(tmp_path / "p.jsonl", count)), EchoTeacher(), Labelling())
        assert rows.size == count
        first, second = list(rows), list(rows)
        assert first == second
        assert (first[0] is not second[0]) == again
        assert list(rows.unchanged()) == first


def test_prompts_that_change_while_they_are_labelled_are_told_of_and_no_answer_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worklist, "KEPT", 2)
    prompts = write(tmp_path / "p.jsonl", 6)

    class Writer(EchoTeacher):
        """Somebody edits the file while it answers."""

        def answer(self, requests):  # type: ignore[no-untyped-def]
            for number, pair in enumerate(super().answer(requests)):
                if number == 5:
                    write(prompts, 8)
                yield pair

    with pytest.raises(DataError, match=r"changed while they were being labelled.*stored"):
        label(PromptFile(prompts), Writer(), tmp_path / "out")
    assert not (tmp_path / "out" / "labelled.jsonl").exists()
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert label(PromptFile(prompts), EchoTeacher(), tmp_path / "out").counts.answered == 8


def test_every_row_is_in_one_part_and_equal_questions_are_together() -> None:
    rows = [prompt_from_row({"id": f"r{i}", "user": f"question {i // 2}"}) for i in range(200)]
    parts = [[row.id for row in rows if shard_of(row, 4) == part] for part in (1, 2, 3, 4)]
    assert sorted(row for part in parts for row in part) == sorted(row.id for row in rows)
    assert min(map(len, parts)) > 20
    assert all(shard_of(a, 4) == shard_of(b, 4) for a, b in zip(rows[::2], rows[1::2], strict=True))


@pytest.mark.parametrize("shard", [(0, 4), (5, 4), (1, 0)])
def test_a_part_that_does_not_exist_is_refused(shard: tuple[int, int]) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        Worklist([prompt_from_row({"user": "hi"})], EchoTeacher(), Labelling(shard=shard))


def test_an_iterator_serves_as_well_as_a_list(tmp_path: Path) -> None:
    rows = (prompt_from_row({"id": f"r{i}", "user": f"question {i}"}) for i in range(4))
    assert label(rows, EchoTeacher(), tmp_path).counts.answered == 4


def test_only_filtered_rows_are_no_rows() -> None:
    rows: list[Prompt] = [prompt_from_row({"user": "drop me"})]
    with pytest.raises(DataError, match="no rows to label"):
        Worklist(rows, EchoTeacher(), Labelling(filters=(DropFilter(word="drop"),)))


def told(number: int, system: str, **fields: object) -> Prompt:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": f"question {number}"}]
    return prompt_from_row({"id": f"r{number}", "messages": messages, **fields})


def test_rows_that_begin_alike_are_asked_one_after_the_other_and_published_as_they_came(tmp_path: Path) -> None:
    asked: list[str] = []

    class Listener(EchoTeacher):
        """Remembers the order."""

        def answer(self, requests):  # type: ignore[no-untyped-def]
            for request, answer in super().answer(requests):
                asked.append(request.prompt.id)
                yield request, answer

    prompts = [told(number, "be brief" if number % 2 else "be kind") for number in range(6)]
    labelled = label(prompts, Listener(window=1), tmp_path)
    assert asked == ["r0", "r2", "r4", "r1", "r3", "r5"]
    assert [example.prompt.id for example in labelled] == [f"r{number}" for number in range(6)]


def test_other_tools_are_another_beginning_and_only_so_many_rows_are_put_in_order_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worklist, "KEPT", 4)
    tool = {"type": "function", "function": {"name": "light", "parameters": {"type": "object"}}}
    prompts = [told(number, "x", **({"tools": [tool]} if number % 2 else {})) for number in range(6)]
    rows = Worklist(prompts, EchoTeacher(), Labelling())
    assert [row.number for row in by_prefix(rows)] == [0, 2, 1, 3, 4, 5]
    assert [row.number for row in by_prefix(iter(rows))] == [0, 2, 1, 3, 4, 5]


def test_a_row_with_half_a_surrogate_pair_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    broken = Prompt(id="r", messages=({"role": "user", "content": "a\ud800b"},))
    with pytest.raises(DataError, match=r"row 'r' holds half of a surrogate pair"):
        label([broken], EchoTeacher(), tmp_path)
    assert not (tmp_path / "answers.sqlite").exists()
