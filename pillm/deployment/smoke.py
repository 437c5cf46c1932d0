"""The smoke test: one held-out prompt and what the very file that ships answered to it, greedily, before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pillm.artifacts import ModelFile
from pillm.backends import Runner
from pillm.contract import Contract
from pillm.errors import BackendError
from pillm.records import Answer, JSONObject, Message, Prompt, Request, canonical
from pillm.rows import read_prompts
from pillm.stages.labelling import LABELLED
from pillm.stages.predictions import PREDICTIONS_FILE, Prediction, read_predictions
from pillm.subjects import ANSWERS_FOLDER
from pillm.validation import validate

LONGEST = 64
HELLO = Prompt(id="hello", messages=({"role": "user", "content": "Hello"},))


@dataclass(frozen=True, slots=True, kw_only=True)
class SmokeTest:
    """Messages as they are sent, and the answer that must come back; None: any answer will do."""

    messages: tuple[Message, ...]
    expected: str | None
    tokens: int = LONGEST
    """How many tokens are asked for at most."""

    def request(self) -> JSONObject:
        """Return the body of the chat completion that asks it."""
        return {"messages": list(self.messages), "temperature": 0, "max_tokens": self.tokens, "seed": 0, "stream": False}

    def judge(self, said: str) -> str | None:
        """Return what is wrong with an answer, or None."""
        if self.expected is None:
            return None if said.strip() else "it answered nothing"
        if said.strip() == self.expected.strip():
            return None
        return f"it answered {said[:80]!r}, and {self.expected[:80]!r} was expected"

    def to_json(self) -> JSONObject:
        """Return the test as plain JSON."""
        return {"request": self.request(), "expected": self.expected}


def smoke_from_run(run: Path, model: ModelFile, contract: Contract, *, constrained: bool = False) -> SmokeTest | None:
    """Return the shortest held-out row that this file answered in its evaluation, one it got right where there is one.

    With `constrained` only an answer that satisfies its row's schema counts: no other can be given there again.
    """
    rows = _rows(run)
    fitting = [(found, rows[found.id]) for found in _predictions(run, model) if found.id in rows and _serves(found)]
    if constrained:
        fitting = [(found, row) for found, row in fitting if validate(row, Answer(found.answer or "")).accepted]
    if not fitting:
        return None
    found, row = min(fitting, key=lambda pair: (-pair[0].scores.get("exact", 0.0), len(pair[0].answer or ""), pair[0].id))
    return SmokeTest(messages=contract.messages(row), expected=found.answer)


def smoke_from_runner(model: ModelFile, contract: Contract, runner: Runner) -> SmokeTest:
    """Return a greeting and what the file answers to it here; raise BackendError where it answers nothing."""
    messages = contract.messages(HELLO)
    request = Request(key="smoke", prompt=HELLO, messages=messages, sample=0)
    with runner.open(model) as session:
        for _, answer in session.answer(iter([request])):
            if not isinstance(answer, Answer):
                raise BackendError(f"{model.path}: the model answered nothing here ({answer.message}); it is not deployed.")
            cut = answer.finish_reason == "length" or answer.tool_calls or not answer.content.strip()
            return SmokeTest(messages=messages, expected=None if cut else answer.content)
    return SmokeTest(messages=messages, expected=None)


def _serves(found: Prediction) -> bool:
    """Return whether an answer is text that ended by itself and is short enough to be asked for again."""
    said = found.answer or ""
    whole = not found.failure and not found.tool_calls and found.finish_reason == "stop"
    return whole and bool(said.strip()) and len(said) < 200


def shared_schema(run: Path) -> JSONObject | None:
    """Return the JSON Schema that all held-out rows of a run share, or None."""
    schemas = {canonical(row.schema): row.schema for row in _rows(run).values()}
    return next(iter(schemas.values())) if len(schemas) == 1 else None


def _rows(run: Path) -> dict[str, Prompt]:
    path = run / "evaluate" / ANSWERS_FOLDER / LABELLED
    return {row.id: row for row in read_prompts(path)} if path.is_file() else {}


def _predictions(run: Path, model: ModelFile) -> Iterator[Prediction]:
    """Yield what the file answered to the held-out rows; the folder's record must name the file."""
    for path in sorted((run / "evaluate").glob(f"*/test/{PREDICTIONS_FILE}")):
        try:
            subject = json.loads((path.parent / "evaluation.json").read_text("utf-8")).get("subject")
        except (OSError, ValueError, AttributeError):
            continue
        if subject == model.label:
            yield from read_predictions(path)
