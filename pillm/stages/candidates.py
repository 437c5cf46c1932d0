"""The samples of a labelling folder, read back from its store: every answer to each prompt, validated and scored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from pillm.answers import AnswerStore
from pillm.choosing import Candidate, choose
from pillm.contract import Contract
from pillm.errors import DataError
from pillm.reasoning import ReasoningPolicy, shaped
from pillm.records import JSONObject, Prompt
from pillm.rows import prompt_from_row, read_lines
from pillm.stages.labelled import LABELLED, REJECTED, STORE, contract_beside
from pillm.validation import Checks, cleaned, validate

_GAP = 8
"""A sample whose call failed leaves a gap in the numbers; after so many without an answer there is none to come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How stored samples are read: who was asked and how, and what becomes of their text."""

    identity: JSONObject
    """What the teacher is: keys are made of it."""
    contract: Contract
    checks: Checks = field(default_factory=Checks)
    reasoning: ReasoningPolicy = "strip"
    score: Callable[[str], float | None] = lambda _: None
    """What a judge gave the answer of a key."""


def folder_candidates(folder: Path, reading: Reading) -> Iterator[tuple[Prompt, list[Candidate]]]:
    """Yield each labelled or rejected prompt of a folder with its stored samples; raise DataError where it is no such folder.

    Rows that arrived answered have none.
    """
    path = folder / STORE
    if not path.is_file():
        raise DataError(f"{folder} holds no {STORE}. Name a folder that `pillm label` made.")
    with AnswerStore(path, read_only=True) as store:
        yield from stored_candidates(_prompts(folder), store, reading)


def stored_candidates(
    prompts: Iterable[Prompt], store: AnswerStore, reading: Reading
) -> Iterator[tuple[Prompt, list[Candidate]]]:
    """Yield each prompt, told as it was sent, with the samples that a store holds of it, cleaned where they were accepted."""
    for prompt in prompts:
        told = replace(prompt, messages=reading.contract.messages(prompt))
        yield told, list(_samples(prompt, store, reading))


def _samples(prompt: Prompt, store: AnswerStore, reading: Reading) -> Iterator[Candidate]:
    missing = 0
    for number in count():
        key = reading.contract.request(prompt, reading.identity, number).key
        answer = store.answer(key)
        if answer is None:
            missing += 1
            if missing >= _GAP:
                return
            continue
        missing = 0
        accepted = validate(prompt, answer, reading.checks).accepted
        kept = shaped(cleaned(prompt, answer, reading.checks), reading.reasoning)
        yield Candidate(number=number, answer=kept, accepted=accepted, score=reading.score(key))


def _prompts(folder: Path) -> Iterator[Prompt]:
    for name in (LABELLED, REJECTED):
        if (folder / name).is_file():
            for where, row in read_lines(folder / name):
                if "messages" in row:  # of a row that a filter left out only the id is kept
                    yield replace(prompt_from_row(row, where=where, beside=folder), given=None)


def contract_of(folder: Path) -> Contract:
    """Return the contract that a folder was labelled under."""
    return contract_beside(folder / LABELLED) or Contract()


def with_agreement(prompt: Prompt, candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return the candidates scored by how many of the accepted ones say the same, as a share of them."""
    known = list(candidates)
    votes = choose(known, "majority", as_json=prompt.schema is not None).votes
    return [replace(one, score=votes[one.number] / len(votes) if one.number in votes else None) for one in known]
