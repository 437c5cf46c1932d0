"""A batch teacher is a teacher like any other where it makes no batches."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import pillm
from tests.depot import Depot


def test_a_batch_teacher_is_public_and_a_teacher() -> None:
    assert issubclass(pillm.BatchTeacher, pillm.Teacher)
    assert {"submit", "find", "poll", "collect", "batch_mode"} <= pillm.BatchTeacher.__abstractmethods__


def test_how_a_teacher_batches_is_no_part_of_what_it_is(tmp_path: Path) -> None:
    assert Depot(folder=tmp_path, size=7).identity() == Depot(folder=tmp_path / "x", batched=False).identity()


def test_a_batch_costs_what_single_calls_do_unless_its_teacher_says_otherwise() -> None:
    assert pillm.BatchMode().price == Decimal(1)
    assert pillm.BatchStatus(ended=False).failure is None


def test_trouble_with_a_batch_is_unavailable_and_passes_for_nothing_that_was_not_said() -> None:
    trouble = pillm.BatchError("no")
    assert isinstance(trouble, pillm.Unavailable)
    assert (trouble.passing, trouble.gone, trouble.taken) == (False, False, None)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"at_once": 0}, {"poll": 0.0}])
def test_a_mode_in_which_nothing_could_ever_be_submitted_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="a batch takes at least one request"):
        pillm.BatchMode(**wrong)
