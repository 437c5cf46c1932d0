"""The lengths that a plan is asked about."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pillm import Alternative, ConfigError, Fact, Lengths, Plan


def test_a_request_has_a_prompt_an_answer_and_a_prefix_within_it() -> None:
    assert Lengths(prompt=5, answer=1, prefix=5).prefix == 5
    assert Lengths(prompt=5, answer=1).tokens == 6


@pytest.mark.parametrize(("prompt", "answer", "prefix"), [(0, 1, 0), (1, 0, 0), (5, 1, 6), (5, 1, -1)])
def test_impossible_lengths_are_refused(prompt: int, answer: int, prefix: int) -> None:
    with pytest.raises(ConfigError, match="are not possible"):
        Lengths(prompt=prompt, answer=answer, prefix=prefix)


def test_an_alternative_reads_as_a_line_and_says_where_it_is_extrapolated() -> None:
    known = {"what": "Q4_0", "device": "pi4-4gb", "quant": "Q4_0", "context": 512, "bytes": 1_230_000_000, "fits": True}
    assert str(Alternative(**known, tg_tps=4.5, pp_tps=9.0)) == "Q4_0: 1.23 GB, about 4.5 tokens per second"
    far = Alternative(**known, tg_tps=4.5, pp_tps=9.0, extrapolated=True)
    assert str(far) == "Q4_0: 1.23 GB, about 4.5 tokens per second, extrapolated"
    assert str(Alternative(**known, tg_tps=None, pp_tps=None, extrapolated=True)) == "Q4_0: 1.23 GB"


def test_only_the_sources_of_what_is_told_are() -> None:
    sources = {"memory": Fact(source="m", trust=1), "prefill": Fact(source="p", trust=2), "decode": Fact(source="d", trust=3)}
    plan = Plan(model="m", device="d", quant="F16", fits=True, bytes=1, memory={}, tg_tps=None, pp_tps=3.0, context=8,
                verdict="Fits.", sources=sources)  # fmt: skip
    assert set(plan.told) == {"memory", "prefill"}
    assert plan.source == "prefill: p (trust 2 of 3)"
    assert replace(plan, pp_tps=None).source == "speed: not calibrated"
