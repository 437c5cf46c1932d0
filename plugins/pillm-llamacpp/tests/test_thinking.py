"""Templates that open a thought: what the model thinks is not what it says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.inference.session import LocalSession
from pillm_llamacpp.process.serving import Served
from pillm_llamacpp.runner import LocalRunner
from pillm_llamacpp_tiny import TEMPLATE, request

import pillm


@pytest.fixture(scope="module")
def thinker(checkpoint: pillm.Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> pillm.ModelFile:
    folder = tmp_path_factory.mktemp("thinks")
    made = Path(shutil.copytree(checkpoint.path, folder / "thinker"))
    template = TEMPLATE.replace("assistant\\n'", "assistant\\n<think>\\n'")
    assert template != TEMPLATE
    (made / "chat_template.jinja").write_text(template)
    (model,) = GGUFExporter(quants=["Q8_0"]).export(pillm.Checkpoint(path=made), folder, pillm.Progress())
    return model


def test_a_constrained_answer_is_json_although_the_template_opens_a_thought(thinker: pillm.ModelFile) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["</think>"]}}, "required": ["a"], "additionalProperties": False}
    with LocalRunner(constrain=True).open(thinker) as session:
        ((_, answer),) = session.answer(iter([request(schema=schema)]))
    assert isinstance(answer, pillm.Answer)
    assert json.loads(answer.content) == {"a": "</think>"}
    assert answer.reasoning is None


def test_a_thought_is_over_before_a_grammar_begins(thinker: pillm.ModelFile) -> None:
    served = Served(path=str(thinker.path))
    packet = {"id": 0, "messages": [{"role": "user", "content": "a"}], "max_tokens": 4, "temperature": 0.0, "seed": 0}
    for grammar, end in ((None, "<think>\n"), ('root ::= "1"', "<think>\n\n</think>\n\n")):
        served.add({**packet, "logprobs": 0, "grammar": grammar})
        job = served.batcher._waiting.pop()  # type: ignore[union-attr]
        assert "".join(served.model.shown(token) for token in job.prompt).endswith(end)


@pytest.mark.parametrize("tools", [(), ({"type": "function", "function": {"name": "f"}},)])
def test_thoughts_and_calls_are_read_out_of_the_text(gguf: pillm.ModelFile, tools: tuple[object, ...]) -> None:
    call = '<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    text = f"hm</think>Oui.{call}"
    result = {
        "text": text,
        "prompt_tokens": 1,
        "ids": [5],
        "cached": 0,
        "logprobs": [],
        "finish": "stop",
        "seconds": 0.1,
        "first": 0.1,
    }
    with LocalRunner().open(gguf) as session:
        assert isinstance(session, LocalSession)
        answer = session._reader.outcome(request(tools=tools), result)
    assert isinstance(answer, pillm.Answer)
    assert (answer.content, answer.reasoning) == ("Oui." if tools else f"Oui.{call}", "hm")
    assert len(answer.tool_calls) == len(tools)
