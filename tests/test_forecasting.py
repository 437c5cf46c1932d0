"""What labelling would ask and cost is told without asking anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from pillm.rows import prompt_from_row
from pillm.stages.labelling import Labelling, forecast, label
from pillm.testing import EchoTeacher
from tests.questions import SCHEMA, Counting, prompts


def test_a_forecast_counts_without_asking_or_writing(tmp_path: Path) -> None:
    rows = [prompt_from_row({"id": "a", "user": "hi", "assistant": "hello"}), *prompts(3)]
    found = forecast(rows, EchoTeacher(), tmp_path)
    assert (found.rows, found.given, found.stored, found.to_ask, found.prompt_tokens) == (4, 1, 0, 3, 6)
    assert list(tmp_path.iterdir()) == []
    label(rows, EchoTeacher(), tmp_path)
    assert forecast(rows, EchoTeacher(), tmp_path).to_ask == 0


@pytest.mark.parametrize(
    ("settings", "to_ask", "calls"),
    [
        (Labelling(), 0, 0),
        (Labelling(attempts=3), 3, 6),
        (Labelling(retry=frozenset({"rejected"})), 3, 3),
        (Labelling(retry=frozenset({"failed"})), 2, 2),
        (Labelling(retry=frozenset({"failed", "rejected"}), attempts=3, limit=4), 4, 9),
    ],
)
def test_a_forecast_counts_what_labelling_would_ask(tmp_path: Path, settings: Labelling, to_ask: int, calls: int) -> None:
    rows = [*prompts(3, schema=SCHEMA), *(prompt_from_row({"id": f"x{i}", "user": f"free {i}"}) for i in range(3))]
    fails = ("free 0", "free 1")
    label(rows, Counting(fails=fails), tmp_path)
    found, again = forecast(rows, Counting(fails=fails), tmp_path, settings), Counting(fails=fails)
    assert (found.to_ask, found.calls) == (to_ask, calls)
    assert (found.prompt_tokens, found.completion_tokens) == (2 * calls, 2 * calls)
    label(rows, again, tmp_path, settings=settings)
    assert len(set(again.asked)) == to_ask
    assert to_ask <= len(again.asked) <= calls


def test_a_forecast_tells_answers_from_failures(tmp_path: Path) -> None:
    label(prompts(4), Counting(fails=("question 1",)), tmp_path)
    found = forecast(prompts(5), Counting(fails=("question 1",)), tmp_path)
    assert (found.stored, found.failed, found.to_ask) == (3, 1, 1)
