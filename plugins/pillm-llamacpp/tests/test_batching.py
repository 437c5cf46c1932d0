"""Several answers at once: a free place is taken at the next decode, each has its own grammar, torch stays out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pillm_llamacpp.grammars.grammar import compile_schema
from pillm_llamacpp.inference.session import LocalSession
from pillm_llamacpp.process.serving import Served
from pillm_llamacpp.runner import LocalRunner
from pillm_llamacpp.teacher import GGUFTeacher
from pillm_llamacpp_tiny import answers, request

import pillm


def job(number: int, tokens: int, grammar: str | None = None, temperature: float = 0.0) -> dict[str, Any]:
    return {
        "id": number, "messages": [{"role": "user", "content": f"Bonjour {number}"}], "max_tokens": tokens,
        "temperature": temperature, "seed": number, "logprobs": 0, "grammar": grammar,
    }  # fmt: skip


def work(served: Served) -> list[list[int]]:
    """Step until nothing is left to do; return the ids that each step completed."""
    batcher, found = served.ready(), []
    while batcher.busy:
        found.append([result["id"] for result in batcher.step()])
    return found


def test_a_place_is_taken_again_as_soon_as_its_answer_is_done(gguf: pillm.ModelFile) -> None:
    served = Served(path=str(gguf.path), context=128, parallel=2)
    limits = [12, 3, 3, 3, 3]  # whole batches of two would take 12 + 3 + 3 steps
    for number, limit in enumerate(limits):
        served.add(job(number, limit))
    found = work(served)
    assert sorted(number for step in found for number in step) == list(range(5))
    assert len(found) == 12
    assert found[-1] == [0, 4]


def test_each_sequence_is_held_to_its_own_grammar(gguf: pillm.ModelFile) -> None:
    schemas = [{"enum": ["oui", "non"]}, {"type": "boolean"}, None, {"const": 7}]
    requests = [
        request(f"Bonjour {number}", number, **({"schema": schemas[number % 4]} if schemas[number % 4] else {}))
        for number in range(16)
    ]
    alone = answers(LocalRunner(constrain=True, parallel=1, max_tokens=12), gguf, requests)
    together = answers(LocalRunner(constrain=True, parallel=4, max_tokens=12), gguf, requests)
    for number, result in enumerate(together):
        assert isinstance(result, pillm.Answer)
        if number % 4 == 2:
            continue
        value = json.loads(result.content)
        assert value in (("oui", "non"), (True, False), (), (7,))[number % 4]
    assert [result.content for result in alone] == [result.content for result in together]  # type: ignore[union-attr]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_grammar_ends_with_its_answer_and_leaves_the_place_free(gguf: pillm.ModelFile, temperature: float) -> None:
    served = Served(path=str(gguf.path), context=128, parallel=1)
    gbnf = compile_schema({"const": "oui"}, where="row").gbnf
    for number in range(3):
        served.add(job(number, 20, gbnf if number != 1 else None, temperature))
    batcher, texts = served.ready(), {}
    while batcher.busy:
        texts |= {result["id"]: result["text"] for result in batcher.step()}
    assert (texts[0], texts[2]) == ('"oui"', '"oui"')
    assert texts[1] != '"oui"'


def test_the_place_of_a_prompt_that_begins_alike_is_taken_first(gguf: pillm.ModelFile) -> None:
    served = Served(path=str(gguf.path), context=128, parallel=2)
    batcher = served.ready()
    for number in (0, 1, 1, 0):
        served.add({**job(number, 1), "messages": [{"role": "user", "content": ("lac " * 9, "pont " * 9)[number]}]})
    cached = []
    while batcher.busy:
        cached += [result["cached"] for result in batcher.step()]
    assert cached[:2] == [0, 0]
    assert min(cached[2:]) > 9


def test_the_model_is_never_near_torch(gguf: pillm.ModelFile) -> None:
    code = (
        "import sys, pillm; from pillm_llamacpp.teacher import GGUFTeacher\n"
        f"prompt = pillm.Prompt(id='a', messages=({{'role': 'user', 'content': 'Oui'}},), schema={{'type': 'boolean'}})\n"
        "request = pillm.Contract().request(prompt, {})\n"
        f"teacher = GGUFTeacher(model={str(gguf.path)!r}, constrain=True, max_tokens=9)\n"
        "(result,) = [said for _, said in teacher.answer(iter([request]))]\n"
        "print(result.content, sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() in (["true", "[]"], ["false", "[]"])


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux: it alone tells what a process has mapped")
def test_the_worker_has_loaded_llama_cpp_and_no_torch(gguf: pillm.ModelFile) -> None:
    teacher = GGUFTeacher(model=gguf.path, max_tokens=2)
    with teacher.open():
        assert len(list(teacher.answer(iter([request()])))) == 1
        session = teacher._session
        assert isinstance(session, LocalSession)
        mapped = Path(f"/proc/{session.worker_pid}/maps").read_text()
    assert "libllama" in mapped
    assert "torch" not in mapped
