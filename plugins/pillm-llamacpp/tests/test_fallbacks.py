from __future__ import annotations

import pytest
from pillm_llamacpp.quantizing.fallbacks import Rule, better, judge
from pillm_llamacpp.quantizing.quants import FTYPES

import pillm

FELL = [["blk.0.attn_q.weight", "96", "q5_0"], ["blk.0.attn_k.weight", "96", "q5_0"], ["output.weight", "96", "q8_0"]]


def said(rule: Rule, quant: str, fell: list[list[str]]) -> list[tuple[str, str]]:
    events: list[pillm.Event] = []
    judge(rule, quant, fell, pillm.Progress("export", (events.append,)))
    return [(event.kind, event.message) for event in events]


def test_what_fits_says_nothing_under_any_rule() -> None:
    assert [said(rule, "Q4_K_M", []) for rule in ("refuse", "warn", "allow")] == [[], [], []]


def test_a_warning_tells_the_true_types_and_the_better_one() -> None:
    ((kind, message),) = said("warn", "Q4_K_M", FELL)
    assert kind == "warning"
    assert "3 tensors" in message
    assert "2 x q5_0, 1 x q8_0" in message
    assert "(first: blk.0.attn_q.weight, 96)" in message
    assert "IQ4_NL is the better 4-bit type" in message


def test_allowed_it_is_a_note_and_refused_an_error() -> None:
    assert said("allow", "Q4_K_M", FELL)[0][0] != "warning"
    with pytest.raises(pillm.BackendError, match="No Q4_K_M file was left"):
        said("refuse", "Q4_K_M", FELL)


def test_rows_that_fit_no_block_at_all_are_told_so() -> None:
    assert "not a multiple of 32" in said("warn", "Q8_0", [["a", "72", "f16"]])[0][1]


@pytest.mark.parametrize("quant", FTYPES)
def test_every_type_with_blocks_of_256_has_a_better_one_and_no_other_has(quant: str) -> None:
    large = "_K" in quant or quant.startswith(("IQ3", "TQ", "Q2_0")) or quant == "IQ4_XS"
    assert bool(better(quant)) == large, better(quant)
