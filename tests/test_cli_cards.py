"""A plan as a card."""

from __future__ import annotations

from pillm import Alternative, Fact, Plan
from pillm.cli.cards import megabytes, plan_lines, seconds, tokens_per_second, trusted

SMALLER = Alternative(
    what="Q4_K_M", device="d", quant="Q4_K_M", context=2048, bytes=300_000_000, tg_tps=9.0, pp_tps=None, fits=True
)


def test_a_card_says_what_is_known_and_what_is_not() -> None:
    memory = {"weights": 500_000_000, "kv_cache": 50_000_000, "available": 3_000_000_000}
    plan = Plan(model="m", device="d", quant="Q8_0", fits=True, bytes=500_000_000, memory=memory, tg_tps=None, pp_tps=12.0,
                context=2048, verdict="Fits.", alternatives=(SMALLER,),
                sources={"prefill": Fact(source="a fit", trust=2), "decode": Fact(source="none", trust=1)})  # fmt: skip
    text = "\n".join(plan_lines(plan))
    for word in ("m (Q8_0, 500 MB) on d: fits", "kv cache", "together         550 MB of 3,000 MB",
                 "12.0 tokens/s (predicted; trust 2 of 3)",
                 "unknown", "Q4_K_M: 300.0 MB, about 9 tokens per second", "prefill    trust 2 of 3: a fit"):  # fmt: skip
        assert word in text, word
    assert "none" not in text, "no decode speed is told"
    assert trusted(plan) == "2/-"


def test_sizes_are_exact_enough() -> None:
    assert [megabytes(size) for size in (1_234_567, 123_456_789)] == ["1.2", "123"]


def test_speeds_and_times_have_the_digits_that_a_prediction_deserves() -> None:
    speeds = [tokens_per_second(speed) for speed in (8.83, 23.9, 754.0, 45300.0, None)]
    assert speeds == ["8.83", "23.9", "754", "45,300", "?"]
    assert [seconds(time) for time in (0.0048, 4.45, 31.2, 900, None)] == ["4.8 ms", "4.45 s", "31 s", "15 min", "unknown"]
