"""Which weights llama.cpp holds a second time."""

from __future__ import annotations

import pytest

from pillm.devices.repacking import repacked_by, repacked_bytes
from pillm.devices.shapes import from_config
from tests.benchmarks.planning.rows import MODELS

LLAMA = from_config(MODELS["Llama-3.2-1B"], "x")


@pytest.mark.parametrize(
    ("flags", "some", "never"),
    [
        (("asimd", "crc32"), (), ("Q4_0", "Q8_0")),
        (("asimd", "asimddp"), ("Q4_0", "Q4_K", "Q6_K", "Q8_0"), ("F16", "Q3_K", "Q4_1")),
        (("avx", "avx2"), ("Q4_0", "Q4_K", "IQ4_NL"), ("Q8_0", "Q6_K", "Q2_K")),
        (("avx2", "avx512f"), ("Q2_K", "Q4_0"), ("Q8_0",)),
        (("avx2", "avx512f", "amx_int8"), (), ("Q4_0", "Q8_0")),
        ((), (), ("Q4_0",)),
    ],
)
def test_the_flags_of_the_processor_choose_the_types(
    flags: tuple[str, ...], some: tuple[str, ...], never: tuple[str, ...]
) -> None:
    found = repacked_by(flags)
    assert set(some) <= found
    assert not found & set(never)


def test_matrices_are_copied_and_an_embedding_that_is_no_head_is_not() -> None:
    tied, apart = (
        LLAMA.quantised("Q8_0"),
        from_config({**MODELS["Llama-3.2-1B"], "tie_word_embeddings": False}, "x").quantised("Q8_0"),
    )
    assert repacked_bytes(tied, {"Q8_0"}) == repacked_bytes(apart, {"Q8_0"}) == sum(one.bytes for one in tied.streamed)
    assert repacked_bytes(tied, {"Q4_0"}) == repacked_bytes(tied, ()) == 0


def test_rows_that_cannot_be_laid_out_together_stay_as_they_are() -> None:
    odd, even = LLAMA.with_vocabulary(32001).quantised("Q8_0"), LLAMA.with_vocabulary(32000).quantised("Q8_0")
    head = next(one for one in even.streamed if one.name == even.head)
    assert repacked_bytes(even, {"Q8_0"}) - repacked_bytes(odd, {"Q8_0"}) == head.bytes
