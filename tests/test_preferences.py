"""Rows with a better and a worse answer are read in every form that preference data sets have."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pillm
from pillm.errors import DataError
from pillm.records import Answer, Message, Prompt
from pillm.rowformats import to_native
from pillm.rows import example_from_row, prompt_from_row
from pillm.stages.pairs import PAIR_FORMATS, PairFormat, PreferencePair, pair_to_row
from pillm.tasks import native_row
from pillm.testing import EchoTeacher, TableTrainer

SYSTEM: Message = {"role": "system", "content": "Sois bref."}
ASK: Message = {"role": "user", "content": "Heure ?"}
GOOD: Message = {"role": "assistant", "content": "midi"}
BAD: Message = {"role": "assistant", "content": "quoi ?"}
CALL = {"id": "1", "type": "function", "function": {"name": "light", "arguments": '{"on": true}'}}


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Heure ?", "chosen": "midi", "rejected": "quoi ?"},
        {"prompt": [ASK], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": [ASK], "chosen": GOOD, "rejected": BAD},
        {"chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"prompt": [ASK], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"messages": [ASK, GOOD], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]},
        {"messages": [ASK], "chosen": "midi", "rejected": "quoi ?"},
        {"messages": [ASK, GOOD], "chosen": "midi", "rejected": BAD},
        {"messages": [ASK, GOOD], "rejected": "quoi ?"},
        {"user": "Heure ?", "chosen": "midi", "rejected": "quoi ?"},
        {"user": "Heure ?", "assistant": "midi", "rejected": "quoi ?"},
        {"instruction": "Heure ?", "input": "", "system": "", "history": [], "chosen": "midi", "rejected": "quoi ?"},
        {"conversations": [{"from": "human", "value": "Heure ?"}], "chosen": {"from": "gpt", "value": "midi"},
         "rejected": {"from": "gpt", "value": "quoi ?"}},
        {"input": {"messages": [ASK], "tools": []}, "preferred_output": [GOOD], "non_preferred_output": [BAD]},
    ],
)  # fmt: skip
def test_every_form_of_a_preference_says_the_same(row: dict[str, Any]) -> None:
    prompt = prompt_from_row({**row, "id": "7", "score": 3})
    assert (prompt.messages, prompt.given, prompt.rejected) == ((ASK,), GOOD, BAD)
    assert prompt.metadata == {"score": 3}
    example = example_from_row(row)
    assert (example.answer.content, example.rejected) == ("midi", Answer("quoi ?"))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Heure ?", "chosen": "midi"},
        {"user": "Heure ?", "chosen": GOOD, "rejected": None},
        {"messages": [ASK, GOOD], "chosen": "midi"},
        {"chosen": [ASK, GOOD]},
        {"prompt": [ASK], "chosen": [ASK, GOOD], "rejected": []},
    ],
)
def test_a_chosen_answer_without_a_worse_one_is_the_answer(row: dict[str, Any]) -> None:
    prompt = prompt_from_row(row)
    assert (prompt.messages, prompt.given, prompt.rejected, prompt.metadata) == ((ASK,), GOOD, None, {})


def test_chosen_alone_is_no_answer_where_it_is_a_number_or_a_truth_value() -> None:
    prompt = prompt_from_row({"user": "Heure ?", "chosen": True})
    assert (prompt.given, prompt.metadata) == (None, {"chosen": True})


def test_a_tool_call_that_ends_the_conversation_is_not_lost_for_another_one() -> None:
    def calling(name: str, content: str | None) -> Message:
        return {
            "role": "assistant",
            "content": content,
            "tool_calls": [{**CALL, "function": {"name": name, "arguments": "{}"}}],
        }

    row = {"messages": [ASK, calling("light", None)], "rejected": "quoi ?"}
    same = prompt_from_row({**row, "chosen": calling("light", "")})
    assert same.given is not None
    assert same.given["tool_calls"] == calling("light", None)["tool_calls"]
    with pytest.raises(DataError, match="another answer than 'chosen'"):
        prompt_from_row({**row, "chosen": calling("door", None)})


def test_a_prompt_that_only_names_its_conversation_stays_beside_it() -> None:
    row = {"prompt": "Heure ?", "prompt_id": "x", "chosen": [SYSTEM, ASK, GOOD], "rejected": [SYSTEM, ASK, BAD]}
    prompt = prompt_from_row(row)
    assert prompt.messages == (SYSTEM, ASK)
    assert prompt.metadata == {"prompt": "Heure ?", "prompt_id": "x"}


def test_a_row_may_know_only_what_is_worse_and_a_teacher_answers_it() -> None:
    prompt = prompt_from_row({"prompt": "Heure ?", "rejected": "quoi ?"})
    assert (prompt.given, prompt.rejected) == (None, BAD)
    assert prompt_from_row({"user": "a", "rejected": None}).rejected is None
    assert prompt_from_row({"user": "a", "chosen": None, "rejected": ""}).given is None


def test_relabelling_keeps_what_is_worse() -> None:
    prompt = prompt_from_row({"prompt": "Heure ?", "chosen": "midi", "rejected": "quoi ?"}, relabel=True)
    assert (prompt.given, prompt.rejected) == (None, BAD)


def test_a_worse_answer_keeps_its_tool_calls() -> None:
    worse = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    example = example_from_row({"messages": [ASK, GOOD], "rejected": worse})
    assert example.rejected == Answer("", tool_calls=(CALL,))


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"chosen": [ASK, GOOD], "rejected": [SYSTEM, ASK, BAD]}, "differ before their last message"),
        ({"chosen": [ASK, GOOD], "rejected": "quoi ?", "prompt": [ASK]}, "differ before their last message"),
        ({"messages": [SYSTEM, ASK], "chosen": [ASK, GOOD], "rejected": [ASK, BAD]}, "different conversations"),
        ({"messages": [ASK, BAD], "chosen": "midi", "rejected": "quoi ?"}, "another answer than 'chosen'"),
        ({"chosen": "midi", "rejected": "quoi ?"}, "'user' is missing"),
        ({"prompt": "a", "chosen": 3, "rejected": "b"}, "'chosen' must be the answer as text"),
        ({"user": "a", "rejected": 3}, "'rejected' must be the answer as text"),
        ({"user": "a", "rejected": {"mot": 1}}, "'rejected' has no text"),
        ({"user": "a", "rejected": {"role": "user", "content": "b"}}, "an assistant message"),
        ({"user": "a", "rejected": {"content": "b", "tool_calls": "c"}}, "'tool_calls' of 'rejected'"),
        ({"user": "a", "rejected": [ASK, BAD]}, "'rejected' must be one answer"),
        ({"input": "a", "preferred_output": [GOOD], "non_preferred_output": [BAD]}, "'input' must be an object"),
        ({"messages": "a", "chosen": "midi", "rejected": "b"}, "'messages' must be a list"),
    ],
)
def test_a_preference_that_is_none_is_told_what_it_lacks(row: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        prompt_from_row(row)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
turns = st.lists(texts, min_size=1, max_size=5).filter(lambda said: len(said) % 2 == 1)


@settings(deadline=None)
@given(st.sampled_from(PAIR_FORMATS), st.none() | texts, turns, texts, texts)
def test_what_data_pairs_writes_is_read_back(
    form: PairFormat, system: str | None, said: list[str], good: str, bad: str
) -> None:
    first: list[Message] = [{"role": "system", "content": system}] if system else []
    roles = ["user", "assistant"] * len(said)
    messages = (*first, *({"role": role, "content": text} for role, text in zip(roles, said, strict=False)))
    pair = PreferencePair(prompt=Prompt(id="r", messages=messages), chosen=Answer(good), rejected=Answer(bad))
    example = example_from_row(json.loads(json.dumps(pair_to_row(pair, form))))
    assert example.prompt.messages == messages
    assert (example.answer.content, example.rejected) == (good, Answer(bad))


def test_what_is_native_is_taken_apart_no_second_time() -> None:
    native = to_native({"prompt": "Heure ?", "chosen": "midi", "rejected": "quoi ?"})
    assert native == {"messages": [ASK, GOOD], "rejected": BAD}
    assert to_native(native) == native


def pairs_file(path: Path, *, worse: str = "b") -> Path:
    rows = [{"id": f"r{n}", "prompt": f"q{n}", "chosen": f"g{n}", "rejected": f"{worse}{n}"} for n in range(4)]
    rows.append({"id": "open", "prompt": "q", "rejected": "b"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def worse_of(examples: Iterable[pillm.Example]) -> list[str | None]:
    return [example.rejected.content if example.rejected else None for example in examples]


def test_the_worse_answer_goes_with_its_row_through_convert_split_and_label(tmp_path: Path) -> None:
    prompts = pillm.read_prompts(pairs_file(tmp_path / "pairs.jsonl"))
    assert [prompt_from_row(native_row(prompt)) for prompt in prompts] == prompts
    sides = pillm.split(prompts, test=1, validation=0, calibration=0)
    assert sum(bool(prompt.rejected) for side in sides.values() for prompt in side) == 5
    labelled = pillm.label(prompts, EchoTeacher(), out=tmp_path / "label")
    assert worse_of(labelled) == ["b0", "b1", "b2", "b3", "b"]
    assert [example.source for example in labelled] == [*["given"] * 4, "teacher"]


class Watching(TableTrainer):
    """Learns, and remembers what it was given."""

    name: ClassVar[str] = "watching"
    seen: ClassVar[list[list[str | None]]] = []

    def train(self, data: pillm.TrainingData, out: Path, progress: pillm.Progress) -> None:
        Watching.seen.append(worse_of(data.train))
        super().train(data, out, progress)


def test_a_trainer_is_given_the_worse_answer_and_trains_anew_where_it_changes(tmp_path: Path) -> None:
    Watching.seen.clear()
    for worse in ("b", "b", "c"):
        prompts = pillm.read_prompts(pairs_file(tmp_path / "pairs.jsonl", worse=worse))
        labelled = pillm.label(prompts, EchoTeacher(), out=tmp_path / "label")
        pillm.train(labelled, Watching(), tmp_path / "train")
    assert Watching.seen == [["b0", "b1", "b2", "b3", "b"], ["c0", "c1", "c2", "c3", "b"]]
