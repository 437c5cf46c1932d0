"""A sample is drawn by hash and asked as labelling asks it: nothing is paid twice, nothing else of the folder changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from pillm.contract import Contract
from pillm.errors import ConfigError, DataError, Unavailable
from pillm.progress import Progress
from pillm.records import Answer, Failure, Prompt, Request
from pillm.rows import prompt_from_row
from pillm.stages.labelling import Labelling, label
from pillm.stages.rowstates import Row, Standing
from pillm.stages.sampling import Hearing, drawn
from pillm.stages.worklist import Worklist
from pillm.testing import DropFilter, EchoTeacher
from pillm.verification import verify


class Counting(EchoTeacher):
    """An echo that counts what it is asked, and may stop after so many answers."""

    name: ClassVar[str] = "counting"
    asked: list[str] = Field(default_factory=list, json_schema_extra={"key": False})
    stops_after: int = Field(1_000, json_schema_extra={"key": False})
    stumbles: tuple[str, ...] = Field((), json_schema_extra={"key": False})

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            self.asked.append(request.prompt.id)
            if len(self.asked) > self.stops_after:
                yield request, Failure("credentials", "no key.", stop=True)
            elif request.prompt.id in self.stumbles:
                yield request, Failure("server", "a hiccup")
            else:
                yield request, Answer(f"{request.messages[0]['content']} {request.sample}")


def prompts(count: int, **row: object) -> list[Prompt]:
    return [prompt_from_row({"id": f"r{i}", "user": f"question {i}", **row}) for i in range(count)]


def hear(
    rows: list[Prompt], teacher: Counting, out: Path, size: int = 4, how: Labelling | None = None
) -> tuple[list[Standing], int]:
    how = how or Labelling()
    sample = drawn(Worklist(rows, teacher, how), size, limit=how.limit)
    return Hearing(teacher=teacher, out=out, settings=how, progress=Progress()).hear(sample)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


@given(
    ids=st.lists(st.text(max_size=8), unique=True, min_size=1, max_size=40),
    size=st.integers(1, 50),
    seed=st.integers(0, 9),
    data=st.data(),
)
@settings(deadline=None)
def test_the_sample_depends_on_ids_and_seed_alone_and_a_smaller_one_is_part_of_a_larger(
    ids: list[str], size: int, seed: int, data: st.DataObject
) -> None:
    def sample(order: list[str], size: int) -> list[str]:
        made = [Prompt(id=one, messages=({"role": "user", "content": "x"},)) for one in order]
        rows = [Row(number=n, prompt=one, request=Contract().request(one, {})) for n, one in enumerate(made)]
        return [row.prompt.id for row in drawn(rows, size, seed=seed)]

    found = sample(ids, size)
    assert len(found) == min(size, len(ids))
    assert found == sample(data.draw(st.permutations(ids)), size)
    assert found[: size // 2] == sample(ids, size // 2) if size > 1 else True


def test_the_sample_is_not_the_first_rows_and_another_seed_draws_another() -> None:
    rows = list(Worklist(prompts(500), EchoTeacher(), Labelling()))
    samples = [{row.number for row in drawn(rows, 50, seed=seed)} for seed in (0, 1)]
    assert all(max(one) > 400 and len(one) == 50 for one in samples)
    assert samples[0] != samples[1]


def test_rows_that_labelling_would_not_ask_are_never_drawn(tmp_path: Path) -> None:
    rows = [*prompts(3), *(prompt_from_row({"id": f"g{i}", "user": "q", "assistant": "a"}) for i in range(3))]
    teacher = Counting()
    hear(rows, teacher, tmp_path / "a", 9, Labelling(filters=(DropFilter(word="question 1"),), limit=5))
    assert sorted(teacher.asked) == ["r0", "r2"]
    limited = Counting()
    hear(prompts(20), limited, tmp_path / "b", 9, Labelling(limit=2))
    assert sorted(limited.asked) == ["r0", "r1"]
    with pytest.raises(DataError, match="--relabel"):
        hear(rows[3:], Counting(), tmp_path / "c")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "how",
    [
        Labelling(),
        Labelling(contract=Contract(system="Be brief.")),
        Labelling(samples=3, choose="majority"),
        Labelling(filters=(DropFilter(word="question 7"),), shard=(1, 2)),
    ],
    ids=["plain", "contract", "samples", "filters and a shard"],
)
def test_probing_and_then_labelling_asks_every_question_once(tmp_path: Path, how: Labelling) -> None:
    probed, alone, after = Counting(), Counting(), Counting()
    hear(prompts(20), probed, tmp_path / "out", 4, how)
    label(prompts(20), alone, tmp_path / "alone", settings=how)
    label(prompts(20), after, tmp_path / "out", settings=how)
    assert len(probed.asked) == 4 * how.samples
    assert sorted(probed.asked + after.asked) == sorted(alone.asked)
    print(f"asked: {len(probed.asked)} by the probe + {len(after.asked)} by label = {len(alone.asked)} by label alone")
    assert (tmp_path / "out" / "labelled.jsonl").read_bytes() == (tmp_path / "alone" / "labelled.jsonl").read_bytes()


def test_a_sample_leaves_the_store_and_nothing_else(tmp_path: Path) -> None:
    hear(prompts(9), Counting(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "answers.sqlite"]


def test_a_finished_labelling_keeps_every_byte_where_the_sample_is_stored(tmp_path: Path) -> None:
    label(prompts(9), Counting(), tmp_path)
    before, again = bytes_of(tmp_path), Counting()
    standings, asked = hear(prompts(9), again, tmp_path)
    assert (asked, again.asked, [one.state for one in standings]) == (0, [], ["answered"] * 4)
    assert bytes_of(tmp_path) == before
    verify(tmp_path)


def test_a_finished_labelling_keeps_its_rows_but_not_its_manifest_where_another_teacher_is_asked(tmp_path: Path) -> None:
    label(prompts(9), Counting(), tmp_path)
    before = (tmp_path / "labelled.jsonl").read_bytes()
    hear(prompts(9), Counting(script={"x": "y"}), tmp_path)
    assert (tmp_path / "labelled.jsonl").read_bytes() == before
    assert not (tmp_path / "manifest.json").exists()
    back = Counting()
    label(prompts(9), back, tmp_path)
    assert back.asked == []


def test_answers_of_another_folder_serve_the_sample(tmp_path: Path) -> None:
    label(prompts(9), Counting(), tmp_path / "other")
    teacher = Counting()
    _, asked = hear(prompts(9), teacher, tmp_path / "out", 4, Labelling(reuse=(tmp_path / "other",)))
    assert (asked, teacher.asked) == (0, [])


def test_a_teacher_that_stops_keeps_what_it_said_and_the_same_command_resumes(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"no key\. 2 of 4 rows of the sample are stored\. The same command resumes"):
        hear(prompts(9), Counting(stops_after=2), tmp_path)
    again = Counting()
    assert hear(prompts(9), again, tmp_path)[1] == len(again.asked) == 2


def test_a_hiccup_of_the_server_is_not_held_against_the_teacher(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"1 rows of the sample got no answer .*hiccup"):
        hear(prompts(4), Counting(stumbles=("r2",)), tmp_path)
    again = Counting()
    hear(prompts(4), again, tmp_path)
    assert again.asked == ["r2"]


def test_a_cap_is_kept(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="Raise the cap"):
        hear(prompts(9), Counting(), tmp_path, 4, Labelling(max_tokens=5))


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("x", "utf-8")
    with pytest.raises(ConfigError, match="left alone"):
        hear(prompts(9), Counting(), tmp_path)
