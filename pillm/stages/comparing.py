"""Let a judge compare the accepted samples of each row, and store what it says as verdicts on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from pillm.answers import AnswerStore, Verdict
from pillm.choosing import Candidate
from pillm.judging import Judge
from pillm.progress import Progress
from pillm.records import Answer, Prompt
from pillm.stages.consulting import asking, compared
from pillm.stages.rowstates import Memory, Row, Sample, judge_name

BLOCK = 256
"""Rows whose samples are compared together: as many as a round of questions keeps a judge busy with."""


def let_judge(rows: Iterable[Row], memory: Memory, judge: Judge, folder: Path, progress: Progress) -> None:
    """Compare the samples of rows that have several accepted ones which nobody compared yet; verdicts go to the store.

    The judge does not see the truth: it is to choose as it would where nobody knows it. Raises what `consult` raises.
    """
    if memory.store is None:
        return
    name, open_rows = judge_name(judge), _uncompared(rows, memory, judge_name(judge), memory.store)
    ask = asking(judge.referee, folder, progress=progress.for_stage("judge"))
    while block := list(islice(open_rows, BLOCK)):
        asked = [(prompt, _candidates(samples)) for prompt, samples in block]
        for (_, samples), candidates in zip(block, compared(asked, judge, ask), strict=True):
            scores = [one.score for one in candidates]
            best = max((score for score in scores if score is not None), default=None)
            for sample, score in zip(samples, scores, strict=True):
                verdict = Verdict(judge=name, accepted=score is not None and score == best, score=score)
                memory.store.judged(sample.request.key, verdict, first=True)


def _uncompared(
    rows: Iterable[Row], memory: Memory, name: str, store: AnswerStore
) -> Iterator[tuple[Prompt, tuple[Sample, ...]]]:
    for row in rows:
        samples = tuple(sample for sample in memory.look(row).samples if sample.accepted)
        if len(samples) > 1 and any(store.verdict(sample.request.key, name) is None for sample in samples):
            yield replace(row.prompt, messages=memory.contract.messages(row.prompt), reference=None), samples


def _candidates(samples: Iterable[Sample]) -> list[Candidate]:
    return [Candidate(number=number, answer=sample.answer or Answer("")) for number, sample in enumerate(samples)]
