"""Where smoke tests come from: the answers of a run's evaluation, else what the file answers here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pillm.artifacts import ModelFile
from pillm.backends import Runner
from pillm.contract import Contract
from pillm.deployment.smoke import HELLO, LONGEST, SmokeTest, tokens_for
from pillm.errors import BackendError
from pillm.records import Answer, JSONObject, Logprobs, Prompt, Request, canonical
from pillm.rows import read_prompts
from pillm.stages.labelling import LABELLED
from pillm.stages.predictions import PREDICTIONS_FILE, Prediction, read_predictions
from pillm.subjects import ANSWERS_FOLDER
from pillm.validation import validate

ROWS = 3
"""So many held-out rows are asked: one whose answer turns on a close call does not decide."""
_CLOSE = 1.0
"""Nats between the two likeliest tokens below which another processor may choose the other one."""


def smoke_from_run(
    run: Path, model: ModelFile, contract: Contract, *, constrained: bool = False
) -> tuple[SmokeTest, ...] | None:
    """Return the shortest held-out rows that this file answered in its evaluation, ones it got right where there are any.

    Rows with other answers than the ones before come first. With `constrained` only an answer that satisfies its row's schema
    counts: no other can be given there again.
    """
    rows = _rows(run)
    fitting = [(found, rows[found.id]) for found in _predictions(run, model) if found.id in rows and _serves(found)]
    if constrained:
        fitting = [(found, row) for found, row in fitting if _satisfies(row, found)]
    fitting.sort(key=lambda pair: (-pair[0].scores.get("exact", 0.0), len(pair[0].answer or ""), pair[0].id))
    firsts = {found.answer: number for number, (found, _) in reversed(list(enumerate(fitting)))}
    order = sorted(range(len(fitting)), key=lambda number: firsts[fitting[number][0].answer] != number)
    return tuple(_test(*fitting[number], contract) for number in order[:ROWS]) or None


def smoke_from_runner(model: ModelFile, contract: Contract, runner: Runner) -> tuple[SmokeTest, ...]:
    """Return a greeting and how the file's answer to it begins here, up to the first token that was a close call.

    Where the runner tells no log-probabilities, the first half of the answer counts. Raises BackendError where the file answers
    nothing.
    """
    messages = contract.messages(HELLO)
    told = {"logprobs": 2} if "logprobs" in type(runner).model_fields else {}
    answer = _asked(model, runner.model_copy(update=told), messages)
    expected = answer.content.rstrip("\N{REPLACEMENT CHARACTER}")
    if answer.tool_calls or not expected.strip():
        return (SmokeTest(messages=messages, expected=None),)
    begins = None
    sure = _sure(answer.logprobs) if answer.logprobs else None
    if sure == 0:
        return (SmokeTest(messages=messages, expected=None),)
    if sure is not None and "max_tokens" in type(runner).model_fields:
        begins = _asked(model, runner.model_copy(update={"max_tokens": sure}), messages).content
        begins = begins.rstrip("\N{REPLACEMENT CHARACTER}")  # half of a letter
    return (SmokeTest(messages=messages, expected=expected, begins=begins, tokens=LONGEST),)


def _asked(model: ModelFile, runner: Runner, messages: tuple[JSONObject, ...]) -> Answer:
    request = Request(key="smoke", prompt=HELLO, messages=messages, sample=0)
    with runner.open(model) as session:
        for _, answer in session.answer(iter([request])):
            if isinstance(answer, Answer):
                return answer
            raise BackendError(f"{model.path}: the model answered nothing here ({answer.message}); it is not deployed.")
    raise BackendError(f"{model.path}: the model answered nothing here; it is not deployed.")


def _sure(logprobs: Logprobs) -> int:
    """Return how many tokens come before the first one that was a close call."""
    for number, row in enumerate(logprobs):
        values = sorted((value for _, value in row), reverse=True)
        if len(values) > 1 and values[0] - values[1] < _CLOSE:
            return number
    return len(logprobs)


def _test(found: Prediction, row: Prompt, contract: Contract) -> SmokeTest:
    return SmokeTest(
        messages=contract.messages(row),
        expected=found.answer,
        tokens=tokens_for(found.answer),
        schema=row.schema if row.schema is not None and _satisfies(row, found) else None,
    )


def _satisfies(row: Prompt, found: Prediction) -> bool:
    return validate(row, Answer(found.answer or "")).accepted


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
