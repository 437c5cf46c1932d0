"""Which requirements of a distribution are not met."""

from __future__ import annotations

import importlib.metadata

import pytest

from pillm.cli.requirements import unmet


@pytest.mark.parametrize(
    ("requirement", "missing"),
    [
        ("click>=8", []),
        ("click", []),
        ("click>=999", ["click>=999"]),
        ("nosuch-distribution>=1", ["nosuch-distribution>=1"]),
        ("nosuch[extra] (>=1)", ["nosuch>=1"]),
        ("nosuch; extra == 'all'", []),
        ("nosuch>=1 ; python_version < '3'", []),
    ],
)
def test_a_requirement_is_met_or_named(monkeypatch: pytest.MonkeyPatch, requirement: str, missing: list[str]) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: [requirement])
    assert unmet("anything") == missing


def test_pillm_itself_is_complete() -> None:
    assert unmet("pillm") == []
