"""Ask a judge: its answers are stored as any teacher's are, so that no verdict is bought twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from pillm.backends import Teacher
from pillm.choosing import Candidate
from pillm.errors import Unavailable
from pillm.judging import JUDGE_CONTRACT, ConsultingMetric, Judge
from pillm.progress import Progress
from pillm.records import Answer, Prompt
from pillm.stages.labelling import Labelling, label
from pillm.tournament import Ask, Contest, Style, judge_contests


def consult(
    questions: Iterable[Prompt],
    teacher: Teacher,
    folder: Path,
    *,
    settings: Labelling | None = None,
    progress: Progress | None = None,
) -> dict[str, Answer]:
    """Return a judge's usable answers by the id of the question; equal questions are asked once, stored ones never again.

    `folder` is a labelling's folder that grows from call to call. A question without an answer that satisfies its schema
    is missing. Raises Unavailable where asking again may bring what is missing, and what `label` raises.
    """
    asked = {question.id: question for question in questions}
    if not asked:
        return {}
    settings = replace(settings or Labelling(), contract=JUDGE_CONTRACT)
    labelled = label(asked.values(), teacher, folder, settings=settings, progress=progress or Progress("judge"))
    if labelled.transient:
        raise Unavailable(
            f"{labelled.transient} of {len(asked)} verdicts of the judge are missing; the others are stored in {folder}. "
            "The same command asks for what is missing."
        )
    return {example.prompt.id: example.answer for example in labelled}


def asking(teacher: Teacher, folder: Path, *, progress: Progress | None = None) -> Ask:
    """Return what a tournament asks its judge with."""
    return partial(_ask, teacher=teacher, folder=folder, progress=progress)


def _ask(questions: Sequence[Prompt], *, teacher: Teacher, folder: Path, progress: Progress | None) -> Mapping[str, Answer]:
    return consult(questions, teacher, folder, progress=progress)


def compared(
    rows: Sequence[tuple[Prompt, Sequence[Candidate]]], judge: Judge, ask: Ask, *, style: Style = "round-robin"
) -> list[list[Candidate]]:
    """Return the candidates of each prompt with the accepted ones scored by a judge in pairs, all prompts a round together.

    Where a prompt has less than two accepted ones, or the judge gave no usable verdict on one, there is no score.
    """
    contests = [
        Contest(prompt=prompt, answers={one.number: one.answer for one in candidates if one.accepted})
        for prompt, candidates in rows
    ]
    standings = judge_contests(contests, ask, rubric=judge.read_rubric(), style=style)
    return [
        [replace(one, score=found.scores.get(one.number)) for one in candidates]
        for (_, candidates), found in zip(rows, standings, strict=True)
    ]


def scores_of(
    metric: ConsultingMetric,
    rows: Iterable[tuple[Prompt, Answer]],
    folder: Path,
    *,
    progress: Progress | None = None,
) -> dict[str, float | None]:
    """Return the metric's score of each answer by the id of its row, all questions asked together."""
    answers = list(rows)
    questions = (question for prompt, answer in answers for question in metric.questions(prompt, answer))
    told = consult(questions, metric.referee, folder, progress=progress)
    return {prompt.id: metric.conclude(prompt, answer, told) for prompt, answer in answers}
