"""The reason says what it rests on."""

from __future__ import annotations

from dataclasses import replace

from pillm_llamacpp.choosing.front import Trial
from pillm_llamacpp.choosing.reasons import Basis, reason_of

import pillm

LOST = pillm.Difference(mean=-0.01, low=-0.03, high=0.005, rows=200, better=1, worse=3, units=200)
FULL = Trial(name="F16", quant="F16", bytes=4_000_000, ram=1, kld=0.0, score=0.9)
BEST = Trial(name="Q4_0", quant="Q4_0", bytes=1_200_000, ram=1, kld=0.02, score=0.89, lost=LOST, cut=3, tg_tps=7.0)
WANTED = {"cared": "quality and size", "device": "pi4-4gb", "asked": "at most 2 MB"}


def test_every_figure_comes_with_the_rows_that_it_rests_on() -> None:
    basis = Basis(compared=204, answer_tokens=8160, scored=200, metric="fields", max_tokens=144)
    said = reason_of(BEST, FULL, (5, 9), WANTED, basis)
    for words in (
        "Q4_0 is the best trade of quality and size among the 5 of 9 files", "score 0.890 (F16 0.900)",
        "difference -0.030 to +0.005", "rests on 204 validation conversations (8160 answer tokens)",
        "the score on 200 rows by fields", "3 of its answers reached the limit of 144 tokens", "asked for: at most 2 MB",
    ):  # fmt: skip
        assert words in said, words
    assert said.count(". ") == 0
    assert "BUT" not in said
    by_fields = reason_of(replace(BEST, exact=0.7), replace(FULL, exact=0.71), (5, 9), WANTED, basis)
    assert "exact answers 0.700 (F16 0.710)" in by_fields, "what min_exact is about, where the score is of something else"


def test_rows_that_were_trained_on_are_said_to_be_loudly() -> None:
    said = reason_of(BEST, FULL, (5, 9), WANTED, Basis(compared=64, answer_tokens=900, seen=True))
    assert "rests on 64 conversations that were trained on" in said
    assert "BUT no row was set aside for validation" in said
    assert said.endswith("set split.validation and choose again.")


def test_a_choice_without_a_score_says_so() -> None:
    unscored = replace(BEST, score=None, lost=None)
    said = reason_of(unscored, FULL, (5, 9), WANTED, Basis(compared=64, answer_tokens=900))
    assert "no file was scored: no validation row with its answer came with the checkpoint" in said
    said = reason_of(unscored, FULL, (5, 9), WANTED, Basis(compared=64, answer_tokens=900, scored=20))
    assert "no file was scored, since no metric applies" in said


def test_the_longest_reason_is_one_that_the_report_shows_whole() -> None:
    from pillm.report.choicefile import MAX_REASON

    basis = Basis(compared=99999, answer_tokens=9999999, scored=200, metric="fields", max_tokens=9999, seen=True)
    wanted = {"cared": "quality, speed and size", "device": "pi4-4gb", "asked": "a score of at least 0.98 of F16, " * 4}
    assert len(reason_of(BEST, FULL, (30, 30), wanted, basis)) < MAX_REASON
