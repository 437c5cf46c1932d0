from __future__ import annotations

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from pillm.intake.ggmltypes import TYPES


def test_sizes_are_those_of_ggml() -> None:
    theirs = {int(kind): (kind.name, *sizes) for kind, sizes in GGML_QUANT_SIZES.items()}
    assert {number: TYPES[number] for number in theirs if number in TYPES} == {
        number: told for number, told in theirs.items() if number in TYPES
    }
    assert set(theirs) <= set(TYPES)
    assert GGMLQuantizationType.Q4_K in TYPES
