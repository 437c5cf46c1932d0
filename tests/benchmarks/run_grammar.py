"""Tokens per second of answers that a grammar holds to their schema, against free ones, of the student that has learnt them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence

from jsonschema import Draft202012Validator

import pillm
from tests.benchmarks.harness import Result, alternating
from tests.benchmarks.running import files, sides

GOAL = 0.9
ROWS = 160
LIMIT = "following the grammar; the smaller the model, the more that is beside a decode: this one has 2 M weights"
PEER = "the same rows, runner and file with constrain=false"


def run(quick: bool) -> Iterator[Result]:
    """Answer the same held-out rows with a grammar and without, eight at once and one at a time."""
    from tests.benchmarks.quant_finish import labelled

    rows = [row.prompt for row in labelled() if row.prompt.split == "test" and row.prompt.schema is not None]
    rows = rows[: ROWS // 2 if quick else ROWS]
    requests = [pillm.Contract().request(row, {}) for row in rows]
    for name, parallel in (("run-grammar", 8), ("run-grammar-alone", 1)):
        file, options = files.nano("Q8_0"), {"parallel": parallel, "threads": 1, "max_tokens": 128}
        with sides.opened(file, constrain=True, **options) as held, sides.opened(file, **options) as free:
            sessions = {"pillm": held, "peer": free}
            same, valid = _checked(held, free, requests)
            took = alternating({side: lambda s=one: _speed(s, requests) for side, one in sessions.items()}, 3 if quick else 7)
        yield Result(
            benchmark=name,
            pillm=round(took["pillm"], 1),
            peer=round(took["peer"], 1),
            unit="tokens/s",
            goal=GOAL,
            better="higher",
            peer_is=PEER,
            limit=LIMIT,
            versions=sides.versions(),
            details={"answers at once": parallel, "rows": len(rows), "valid": valid, "answers equal to the free ones": same},
        )


def _checked(held: pillm.Session, free: pillm.Session, requests: Sequence[pillm.Request]) -> tuple[int, int]:
    """Return how many answers are the same both ways; raise where one with the grammar breaks its schema."""
    mine, theirs = ({asked.key: said for asked, said in one.answer(iter(requests))} for one in (held, free))
    same = valid = 0
    for request in requests:
        answer, other = mine[request.key], theirs[request.key]
        if not isinstance(answer, pillm.Answer) or not isinstance(other, pillm.Answer):
            continue
        if next(Draft202012Validator(request.prompt.schema or {}).iter_errors(json.loads(answer.content)), None):
            raise RuntimeError(f"{request.prompt.id}: the grammar let {answer.content} through")
        valid += 1
        same += answer.content == other.content
    if valid < len(requests) * 9 // 10:
        raise RuntimeError(f"only {valid} of {len(requests)} rows were answered")
    return same, valid


def _speed(session: pillm.Session, requests: Sequence[pillm.Request]) -> float:
    began = time.perf_counter()
    said = [answer for _, answer in session.answer(iter(requests)) if isinstance(answer, pillm.Answer)]
    tokens = sum(len(answer.token_ids or ()) for answer in said)
    return tokens / (time.perf_counter() - began)
