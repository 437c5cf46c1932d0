"""On what the figures of a plan rest."""

from __future__ import annotations

from pillm import Fact
from pillm.devices import device
from pillm.devices.shapes import from_config
from pillm.devices.speed import load_of
from pillm.devices.trust import extrapolated, sources_of, weakest, weakness
from tests.benchmarks.planning.rows import MODELS

LLAMA = from_config(MODELS["Llama-3.2-1B"], "x")


def test_the_weakest_fact_counts_and_the_first_of_several() -> None:
    strong, weak, other = Fact(source="a", trust=3), Fact(source="b", trust=1), Fact(source="c", trust=1)
    assert weakest([strong, None, weak, other]) is weak
    assert weakest([None]) is None


def test_a_figure_is_trusted_as_its_weakest_part_is() -> None:
    pi4 = device("pi4-4gb")
    plain, few = LLAMA.quantised("Q4_K_M"), LLAMA.quantised("Q2_K")
    assert {name: fact.trust for name, fact in sources_of(plain, load_of(plain), pi4).items()} == {
        "memory": 1, "prefill": 3, "decode": 3,
    }  # fmt: skip
    found = sources_of(few, load_of(few), pi4)
    assert (found["prefill"].trust, found["prefill"].source.startswith("llvm-mca")) == (1, True)
    assert found["memory"].source.startswith("what the system keeps: ")
    assert weakness(few, found, {"prefill": 1.0, "decode": None}, pi4).startswith("prefill is an estimate (llvm-mca")
    assert weakness(few, found, {"prefill": None, "decode": None}, pi4) == "", "no figure is told"


def test_a_file_beyond_the_fit_is_extrapolated_and_its_memory_is_not() -> None:
    huge = from_config(MODELS["DeepSeek-R1-Distill-Llama-8B"], "8B").quantised("Q8_0")
    board = device("pi4-8gb")
    found = sources_of(huge, load_of(huge), board)
    assert extrapolated(huge, board)
    assert (found["decode"].trust, found["decode"].source.startswith("extrapolated: ")) == (1, True)
    assert "extrapolated" not in found["memory"].source
    assert extrapolated(LLAMA.quantised("Q8_0"), board) == ""
    assert set(sources_of(huge, load_of(huge), device("generic-x86"))) == {"memory"}
