"""The facts that a report is made of."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from pillm.report.facts import ROW_FATES, RunFacts


def test_facts_need_a_name_and_the_rows_and_nothing_else() -> None:
    facts = RunFacts(recipe="quickstart", rows=dict.fromkeys(ROW_FATES, 0))
    assert [facts.models, facts.evaluations, facts.benchmarks, facts.plans, facts.gates, facts.notes] == [()] * 6
    with pytest.raises(FrozenInstanceError):
        facts.recipe = "other"  # type: ignore[misc]
