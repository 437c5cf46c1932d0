"""Constrained answers: what is said satisfies the row's schema, what cannot be held to one fails, and only where asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from pillm_hf import HFRunner, HFTeacher
from pillm_hf.answering.constraint import Constraints, hold
from pillm_hf.rows.opening import load_chat

import pillm


def thing(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


SMALL = thing(
    room={"enum": ["cuisine", "été", None]}, level={"type": "integer", "minimum": 1, "maximum": 12}, on={"type": "boolean"},
    at={"type": "string", "pattern": r"^[0-9]{2}:[0-5][0-9]$"},
    tags={"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
)  # fmt: skip


def asked(count: int, schema: dict[str, Any] | None) -> list[pillm.Request]:
    rows = [
        pillm.Prompt(id=f"p{number}", messages=({"role": "user", "content": f"question {number}"},), schema=schema)
        for number in range(count)
    ]
    return [pillm.Contract().request(row, {"use": "test"}) for row in rows]


def answers(base: Path, requests: list[pillm.Request], **options: Any) -> dict[str, pillm.Answer | pillm.Failure]:
    made = HFTeacher(**{"model": str(base), "dtype": "float32", "max_new_tokens": 200, "constrain": True, **options})
    return {request.prompt.id: answer for request, answer in made.answer(iter(requests))}


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_constrained_answers_satisfy_their_schema(base: Path, temperature: float) -> None:
    got = answers(base, asked(10, SMALL), temperature=temperature, batch_size=4)
    for answer in got.values():
        assert isinstance(answer, pillm.Answer), answer
        jsonschema.validate(json.loads(answer.content), SMALL)
        assert answer.finish_reason == "stop"
        assert answer.token_ids[-1] == 2
    assert len({answer.content for answer in got.values()}) > 1


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "seed": 4}])
def test_a_constrained_row_does_not_depend_on_its_neighbours(base: Path, options: dict[str, Any]) -> None:
    mixed = [*asked(8, SMALL)[:4], *asked(8, None)[4:]]
    made = [answers(base, mixed, batch_size=size, max_new_tokens=60, **options) for size in (1, 3, 64)]
    said = [{name: getattr(answer, "token_ids", None) for name, answer in one.items()} for one in made]
    assert said[0] == said[1] == said[2]


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, "uniqueItems"),
        ({"not": {"type": "object"}}, "not"),
        ({"type": "flower"}, "not valid"),
        (thing(s={"type": "string", "format": "colour"}), "Unknown format"),
        ({"type": "array", "uniqueItems": True, "x-guidance": {"lenient": True}}, "uniqueItems"),
    ],
)
def test_a_schema_that_cannot_be_held_to_fails_its_row_alone(base: Path, schema: dict[str, Any], named: str) -> None:
    bad = pillm.Prompt(id="bad", messages=({"role": "user", "content": "?"},), schema=schema)
    got = answers(base, [pillm.Contract().request(bad, {}), *asked(2, {"enum": ["oui", "non"]})])
    assert isinstance(got["bad"], pillm.Failure)
    assert got["bad"].kind == "invalid"
    assert named in got["bad"].message
    assert {json.loads(got[name].content) for name in ("p0", "p1")} <= {"oui", "non"}


def test_an_answer_that_was_cut_is_a_failure(base: Path) -> None:
    (answer,) = answers(base, asked(1, SMALL), max_new_tokens=5).values()
    assert isinstance(answer, pillm.Failure)
    assert "cut after 5 tokens" in answer.message


def test_only_who_asks_is_held_and_evaluations_never_are(base: Path) -> None:
    free = answers(base, asked(3, SMALL), constrain=False, max_new_tokens=8)
    without = answers(base, asked(3, None), max_new_tokens=8)
    assert [answer.token_ids for answer in free.values()] == [answer.token_ids for answer in without.values()]
    teacher = HFTeacher(model=str(base), constrain=True, temperature=0.5)
    assert (teacher.greedy().constrain, teacher.greedy().temperature) == (False, 0.0)
    assert teacher.identity() != HFTeacher(model=str(base), temperature=0.5).identity()
    assert "constrain" not in HFTeacher(model=str(base)).identity()


def test_the_runner_holds_answers_too(base: Path) -> None:
    with HFRunner(dtype="float32", constrain=True).open(pillm.Checkpoint(path=base)) as session:
        ((_, answer),) = session.answer(iter(asked(1, {"const": "oui"})))
    assert isinstance(answer, pillm.Answer)
    assert answer.content == '"oui"'


def test_log_probabilities_are_the_models_own_before_the_grammar(base: Path) -> None:
    (answer,) = answers(base, asked(1, {"const": "oui"}), logprobs=320).values()
    assert isinstance(answer, pillm.Answer)
    assert answer.logprobs
    for places in answer.logprobs:
        assert sum(torch.tensor([value for _, value in places]).exp()).item() == pytest.approx(1, abs=1e-4)


def test_the_quick_look_at_the_best_token_chooses_what_the_whole_mask_would(base: Path) -> None:
    chat = load_chat(base)
    constraints = Constraints(chat.tokenizer, 320, chat.stop_ids)
    torch.manual_seed(0)
    quick, whole = constraints.of(SMALL, "row"), constraints.of(SMALL, "row")
    for _ in range(40):
        logits = torch.randn(1, 320)
        token = int(hold(logits, [(0, quick)], logits.argmax(-1).tolist()).argmax())
        assert token == int(hold(logits, [(0, whole)], None).argmax())
        if token in chat.stop_ids:
            break
        quick.accept(token)
        whole.accept(token)


def test_thoughts_are_over_before_a_grammar_begins(make: Any, tmp_path: Path) -> None:
    template = "{%- for message in messages -%}{{- message['content'] + '<|im_end|>' -}}{%- endfor -%}<think>\n"
    thinking = make(tmp_path / "thinking", template=template)
    rows = asked(1, {"const": 1})
    (answer,) = answers(thinking, rows).values()
    assert isinstance(answer, pillm.Answer)
    assert answer.content == "1"
    (plain,) = answers(thinking, rows, constrain=False, max_new_tokens=1).values()
    assert answer.usage.prompt_tokens > plain.usage.prompt_tokens
