"""Where smoke tests come from: held-out rows that the file answered, else a greeting that it answers here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import pillm
from pillm.contract import Contract
from pillm.deployment.held import shared_schema, smoke_from_run, smoke_from_runner
from pillm.deployment.smoke import judge_all

PLAIN: dict[str, object] = {"reference": None, "compared_with": None, "finish_reason": "stop", "failure": None, "tags": []}


def write_run(folder: Path, file: str, predictions: list[dict[str, object]], schema: object = None) -> Path:
    """Write as much of a run as a smoke test is made of."""
    answers, scored = folder / "evaluate" / "answers", folder / "evaluate" / "x-1" / "test"
    answers.mkdir(parents=True)
    scored.mkdir(parents=True)
    rows = [
        {"id": row["id"], "messages": [{"role": "user", "content": row["prompt"]}], **({"schema": schema} if schema else {})}
        for row in predictions
    ]
    (answers / "labelled.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (scored / "predictions.jsonl").write_text(
        "".join(json.dumps({**PLAIN, "group": None, **row}) + "\n" for row in predictions)
    )
    (scored / "evaluation.json").write_text(json.dumps({"subject": file}))
    return folder


def row(name: str, answer: str | None, exact: float = 1.0, **more: object) -> dict[str, object]:
    return {"id": name, "prompt": f"ask {name}", "answer": answer, "scores": {"exact": exact}, **more}


@pytest.fixture
def model(tmp_path: Path) -> pillm.ModelFile:
    (tmp_path / "m.gguf").write_bytes(b"x")
    return pillm.ModelFile.of(tmp_path / "m.gguf", "Q8_0")


def test_the_shortest_right_answer_of_this_very_file_is_asked_for_again(tmp_path: Path, model: pillm.ModelFile) -> None:
    rows = [
        row("a", "a long right answer"),
        row("b", "right"),
        row("c", "no", exact=0.0),
        row("d", "cut", finish_reason="length"),
    ]
    run = write_run(tmp_path / "run", "m.gguf", rows)
    found = smoke_from_run(run, model, Contract(system="Be brief."))
    assert found is not None
    assert [test.expected for test in found] == ["right", "a long right answer", "no"]
    assert [message["content"] for message in found[0].messages] == ["Be brief.", "ask b"]
    assert found[0].request()["temperature"] == 0


def test_rows_with_other_answers_come_first_and_three_are_enough(tmp_path: Path, model: pillm.ModelFile) -> None:
    rows = [row(name, answer) for name, answer in zip("abcdef", ("on", "on", "on", "on", "off", "dimmed"), strict=True)]
    found = smoke_from_run(write_run(tmp_path / "run", "m.gguf", rows), model, Contract())
    assert [test.expected for test in found or ()] == ["on", "off", "dimmed"]


def test_a_close_call_of_another_processor_does_not_stop_a_deployment(tmp_path: Path, model: pillm.ModelFile) -> None:
    rows = [row("a", "on"), row("b", "the light is on now"), row("c", "the heater is off")]
    found = smoke_from_run(write_run(tmp_path / "run", "m.gguf", rows), model, Contract())
    assert found is not None
    assert [test.expected for test in found] == ["on", "the heater is off", "the light is on now"]
    assert found[2].judge("the light is off") is None, "half of the text is the same"
    assert judge_all(found, ["on", "no idea", "the light is off"]) is None, "two of three"
    assert "2 of 3 answers do not agree" in (judge_all(found, ["on", "no idea", "what?"]) or "")


def test_an_answer_that_the_schema_forbids_is_not_asked_for_under_a_grammar(tmp_path: Path, model: pillm.ModelFile) -> None:
    rows = [row("a", '{"name": "x"}', exact=0.0), row("b", "{}"), row("c", "no")]
    schema = {"type": "object", "required": ["name"]}
    run = write_run(tmp_path / "run", "m.gguf", rows, schema)
    for constrained, expected in ((False, "{}"), (True, '{"name": "x"}')):
        found = smoke_from_run(run, model, Contract(), constrained=constrained)
        assert found is not None
        assert found[0].expected == expected
        assert found[0].schema == (schema if constrained else None), "an answer that breaks the schema is compared as text"


def test_another_file_s_answers_are_not_taken(tmp_path: Path, model: pillm.ModelFile) -> None:
    assert smoke_from_run(write_run(tmp_path / "run", "other.gguf", [row("a", "x")]), model, Contract()) is None
    assert smoke_from_run(tmp_path / "nothing", model, Contract()) is None


@pytest.mark.parametrize("answer", [None, "", "  ", "x" * 500])
def test_an_empty_answer_and_a_long_one_are_not_taken(tmp_path: Path, model: pillm.ModelFile, answer: str | None) -> None:
    assert smoke_from_run(write_run(tmp_path / "run", "m.gguf", [row("a", answer)]), model, Contract()) is None


def test_a_schema_is_shared_only_by_all(tmp_path: Path) -> None:
    assert shared_schema(write_run(tmp_path / "one", "m.gguf", [row("a", "x"), row("b", "y")], {"type": "object"})) == {
        "type": "object"
    }
    assert shared_schema(write_run(tmp_path / "none", "m.gguf", [row("a", "x")])) is None


class Fixed(pillm.Session):
    """Answers with words, a token each, the third one of which is a close call."""

    def __init__(self, most: int | None, close: int) -> None:
        self._most, self._close = most, close

    def answer(self, requests: Iterator[pillm.Request]) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
        for request in requests:
            words = f"you said {request.messages[-1]['content']}, dear".split()[: self._most]
            tops = tuple(((0, -0.1), (1, -0.3 if number == self._close else -4.0)) for number in range(len(words)))
            yield request, pillm.Answer(" ".join(words), logprobs=tops if self._most else None)


class Telling(pillm.Runner):
    """Answers, and tells how sure it was."""

    name = "telling"
    reads = frozenset({"gguf"})
    max_tokens: int = 48
    logprobs: int = 0
    close: int = 2

    def open(self, model: pillm.ModelFile | pillm.Checkpoint) -> pillm.Session:
        return Fixed(self.max_tokens, self.close)


class Silent(pillm.Runner):
    """Answers, and tells nothing else."""

    name = "silent"
    reads = frozenset({"gguf"})

    def open(self, model: pillm.ModelFile | pillm.Checkpoint) -> pillm.Session:
        return Fixed(None, 0)


def test_a_runner_says_what_is_expected_where_no_evaluation_does(model: pillm.ModelFile) -> None:
    (found,) = smoke_from_runner(model, Contract(), Silent())
    assert (found.expected, found.begins) == ("you said Hello, dear", None)


def test_an_answer_counts_up_to_the_first_close_call(model: pillm.ModelFile) -> None:
    (found,) = smoke_from_runner(model, Contract(), Telling())
    assert (found.expected, found.begins) == ("you said Hello, dear", "you said")
    assert found.judge("you said Goodbye") is None
    assert found.judge("you heard Hello, dear") is not None
    (surest,) = smoke_from_runner(model, Contract(), Telling(close=99))
    assert surest.begins == "you said Hello, dear"
    (unsure,) = smoke_from_runner(model, Contract(), Telling(close=0))
    assert unsure.expected is None, "the very first token may be another one there"
