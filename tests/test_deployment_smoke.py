"""The smoke test: what a held-out row was answered with, and what is wrong with another answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import pillm
from pillm.contract import Contract
from pillm.deployment.smoke import SmokeTest, shared_schema, smoke_from_run, smoke_from_runner

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
    assert found.expected == "right"
    assert [message["content"] for message in found.messages] == ["Be brief.", "ask b"]
    assert found.request()["temperature"] == 0


def test_an_answer_that_the_schema_forbids_is_not_asked_for_under_a_grammar(tmp_path: Path, model: pillm.ModelFile) -> None:
    rows = [row("a", '{"name": "x"}', exact=0.0), row("b", "{}"), row("c", "no")]
    schema = {"type": "object", "required": ["name"]}
    run = write_run(tmp_path / "run", "m.gguf", rows, schema)
    for constrained, expected in ((False, "{}"), (True, '{"name": "x"}')):
        found = smoke_from_run(run, model, Contract(), constrained=constrained)
        assert found is not None
        assert found.expected == expected


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


def test_a_runner_says_what_is_expected_where_no_evaluation_does(model: pillm.ModelFile) -> None:
    class Fixed(pillm.Session):
        def answer(self, requests: Iterator[pillm.Request]) -> Iterator[tuple[pillm.Request, pillm.Answer | pillm.Failure]]:
            for request in requests:
                yield request, pillm.Answer(f"you said {request.messages[-1]['content']}")

    class Runner(pillm.Runner):
        """Answers."""

        name = "fixed"
        reads = frozenset({"gguf"})

        def open(self, model: pillm.ModelFile | pillm.Checkpoint) -> pillm.Session:
            return Fixed()

    assert smoke_from_runner(model, Contract(), Runner()).expected == "you said Hello"


def test_an_answer_is_judged() -> None:
    test = SmokeTest(messages=(), expected="yes")
    assert test.judge("yes\n") is None
    assert test.judge("no") == "it answered 'no', and 'yes' was expected"
    assert SmokeTest(messages=(), expected=None).judge("anything") is None
    assert SmokeTest(messages=(), expected=None).judge(" ") == "it answered nothing"
