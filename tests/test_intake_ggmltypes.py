from __future__ import annotations

from gguf.constants import GGML_QUANT_SIZES

from pillm.intake.ggmltypes import TYPES

OLDER = {"Q8_1"}
"""The published library has the size of an older layout; ggml-common.h says 36 bytes. No file stores it."""


def test_sizes_are_those_of_ggml() -> None:
    theirs = {int(kind): (kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items() if kind.name not in OLDER}
    assert {number: TYPES[number] for number in theirs} == theirs
    assert len(theirs) > 30
