"""The teacher gate: go, the teacher fails, or the base does it, and the sentence says what decided."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from pillm.metrics import Fields
from pillm.probing import Probed, Probing, Thresholds, probe
from pillm.records import Answer, Failure, Prompt, Request
from pillm.rows import prompt_from_row
from pillm.stages.labelling import Labelling, label
from pillm.subjects import Subject
from pillm.testing import EchoTeacher

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def numbered(count: int, *, reference: bool = True, **row: Any) -> list[Prompt]:
    truth = [{"reference": f'{{"n": {n}}}'} if reference else {} for n in range(count)]
    return [prompt_from_row({"id": f"r{n}", "user": f"{n}", "schema": SCHEMA, **truth[n], **row}) for n in range(count)]


class Table:
    """A session that answers from a function of the question."""

    def __init__(self, say: Any) -> None:
        self._say = say

    def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        for request in requests:
            yield request, Answer(self._say(int(request.prompt.text)))


def base(say: Any) -> Subject:
    @contextmanager
    def opened() -> Iterator[Table]:
        yield Table(say)

    return Subject(name="small", kind="base", identity={"small": 1}, open=opened)


def knowing(share: float, count: int = 40) -> EchoTeacher:
    """Return a teacher that is right on a share of the questions, and says something valid on the others."""
    return EchoTeacher(script={str(n): f'{{"n": {n if n < share * count else -1}}}' for n in range(count)})


def right(n: int) -> str:
    return f'{{"n": {n}}}'


def told(tmp_path: Path, teacher: EchoTeacher, student: Subject | None = None, rows: list[Prompt] | None = None) -> Probed:
    return probe(rows or numbered(40), teacher, tmp_path / "out", probing=Probing(student=student))


def test_a_good_teacher_and_a_bad_base_go(tmp_path: Path) -> None:
    found = told(tmp_path, knowing(1), base(lambda _: "nonsense"))
    assert (found.verdict, found.decided_by, found.rows, found.asked) == ("go", "exact", 40, 40)
    assert found.sentence == (
        "go: echo has exact 1.00 [0.91, 1.00] on 40 rows, the base small exact 0.00 [0.00, 0.09] on 40 rows; "
        "the teacher's lower bound is at least 0.5."
    )
    assert found.truth is not None
    assert [one.kind for one in found.evaluations[:2]] == ["teacher", "base"]
    assert {name: figure.mean for name, figure in found.truth.metrics.items()} == {"exact": 1, "accepted": 1, "schema": 1}


def test_without_a_base_the_sentence_says_so(tmp_path: Path) -> None:
    found = told(tmp_path, knowing(1))
    assert (found.verdict, found.base) == ("go", None)
    assert found.sentence.endswith("at least 0.5; no student base was probed.")


def test_a_teacher_that_is_often_wrong_fails_though_its_answers_are_valid(tmp_path: Path) -> None:
    found = told(tmp_path, knowing(0.25))
    assert found.verdict == "teacher fails"
    assert found.sentence.startswith("the teacher fails: echo has exact 0.25 [")
    assert found.sentence.endswith("on 40 rows, below 0.5.")
    assert found.teacher.metrics["accepted"].mean == 1


def test_too_few_rows_to_be_sure_of_are_said_to_be_so(tmp_path: Path) -> None:
    found = told(tmp_path, knowing(1), rows=numbered(3))
    assert found.verdict == "teacher fails"
    assert found.sentence.endswith("on 3 rows, too few or too alike to be sure of 0.5.")


@pytest.mark.parametrize(("share", "verdict"), [(0.96, "base does it"), (0.9, "go"), (0.7, "go")])
def test_a_base_does_it_where_it_is_near_the_teacher_and_good(tmp_path: Path, share: float, verdict: str) -> None:
    student = base(lambda n: right(n) if n < share * 50 else "{}")
    found = probe(numbered(50), knowing(1, 50), tmp_path, probing=Probing(student=student))
    assert found.verdict == verdict
    if verdict == "base does it":
        assert found.sentence.startswith(
            "the base already does it: echo has exact 1.00 [0.93, 1.00] on 50 rows, the base small"
        )
        assert found.sentence.endswith("on 50 rows: within 0.05 of the teacher and at least 0.8.")


def test_a_base_as_bad_as_its_teacher_does_nothing(tmp_path: Path) -> None:
    assert told(tmp_path, knowing(0.75), base(lambda n: right(n) if n < 30 else "{}")).verdict == "go"


def test_thresholds_are_parameters(tmp_path: Path) -> None:
    strict = Probing(thresholds=Thresholds(teacher=0.95))
    assert probe(numbered(40), knowing(1), tmp_path, probing=strict).verdict == "teacher fails"
    easy = Probing(student=base(right), thresholds=Thresholds(teacher=0.1, base=0.2))
    assert probe(numbered(40), knowing(0.25), tmp_path, probing=easy).verdict == "base does it"


def test_without_references_what_validation_accepts_decides(tmp_path: Path) -> None:
    rows = numbered(40, reference=False)
    bad = EchoTeacher(script={str(n): right(n) if n < 10 else "I do not know" for n in range(40)})
    found = told(tmp_path, bad, rows=rows)
    assert (found.verdict, found.decided_by, found.truth) == ("teacher fails", "accepted", None)
    assert found.sentence.startswith("the teacher fails: echo has accepted 0.25")
    assert found.teacher.metrics["schema"].mean == 0.25


def test_without_references_a_valid_answer_is_not_enough_for_a_base(tmp_path: Path) -> None:
    rows = numbered(40, reference=False)
    found = told(tmp_path, knowing(1), base(lambda _: '{"n": 0}'), rows)
    assert found.verdict == "go"
    assert "the base small accepted 1.00 [0.91, 1.00] on 40 rows and says what the teacher says on 2%" in found.sentence
    assert told(tmp_path, knowing(1), base(right), rows).verdict == "base does it"


def test_references_of_a_few_rows_do_not_decide(tmp_path: Path) -> None:
    found = told(tmp_path, knowing(1), rows=[*numbered(10), *numbered(40, reference=False)[10:]])
    assert found.decided_by == "accepted"
    assert found.teacher.metrics["exact"].rows == 10


def test_references_that_break_their_schema_are_told_of(tmp_path: Path) -> None:
    rows = [*numbered(38), *numbered(40, reference=False)[38:]]
    rows[0] = prompt_from_row({"id": "r0", "user": "0", "schema": SCHEMA, "reference": "zero"})
    found = told(tmp_path, knowing(1), rows=rows)
    assert found.sentence.endswith("; but 1 of 38 references would be refused as answers: mend these rows.")


def test_failures_for_good_score_nothing(tmp_path: Path) -> None:
    teacher = EchoTeacher(fails=tuple(map(str, range(30))), script={str(n): right(n) for n in range(40)})
    found = told(tmp_path, teacher)
    assert (found.verdict, found.teacher.failed, found.teacher.metrics["exact"].mean) == ("teacher fails", 30, 0.25)


def test_more_metrics_are_scored_beside_the_deciding_one(tmp_path: Path) -> None:
    found = probe(numbered(40), knowing(1), tmp_path, probing=Probing(metrics=(Fields(),)))
    assert found.teacher.metrics["fields"].mean == 1


def test_a_judge_is_not_asked(tmp_path: Path) -> None:
    from pillm.judging import Judge

    class Silent(EchoTeacher):
        """Must never be asked."""

        name: ClassVar[str] = "silent"

        def answer(self, requests: Iterator[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
            raise AssertionError("the judge was asked")

    how = Labelling(samples=2, choose="judge", judge=Judge(teacher=Silent()))
    assert probe(numbered(40), knowing(1), tmp_path, settings=how).verdict == "go"


def test_the_same_probe_again_asks_nothing_and_says_the_same(tmp_path: Path) -> None:
    first, again = (told(tmp_path, knowing(1), base(right)) for _ in range(2))
    assert (again.asked, again.sentence) == (0, first.sentence)
    assert label(numbered(40), knowing(1), tmp_path / "out").counts.answered == 40
