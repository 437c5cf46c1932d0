"""What is offered instead of a model that does not fit, or that is slower than it need be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pillm import Alternative
from pillm.devices import device
from pillm.devices.offers import faster, smaller, suited
from pillm.devices.shapes import from_config
from tests.benchmarks.planning.rows import MODELS, config

LLAMA = from_config(MODELS["Llama-3.2-1B"], "Llama")
PI4 = device("pi4-4gb")


def texts(offers: Iterable[Alternative]) -> list[str]:
    return [str(one) for one in offers]


def test_faster_quantisations_and_a_smaller_vocabulary_are_named() -> None:
    found = texts(faster(LLAMA.quantised("Q8_0"), PI4, 512))
    assert found[0].startswith("Q4_K_M: 805.0 MB, about 4.")
    assert any(
        one.startswith("a vocabulary of 32,064 (trainer full, trim_vocabulary: true, vocabulary_size: 32064)")
        for one in texts(faster(LLAMA.quantised("Q4_K_M"), PI4, 512))
    )


def test_a_head_of_many_bits_is_offered_in_fewer() -> None:
    gemma = from_config(MODELS["Gemma-3-270M-it"], "Gemma").quantised("Q4_0")
    assert any(one.startswith("the head in Q4_0 (exporter gguf, quants: auto): ") for one in texts(faster(gemma, PI4, 512)))
    small = from_config({**MODELS["Llama-3.2-1B"], "vocab_size": 8192}, "x").quantised("Q4_K_M")
    assert not any("head" in one or "vocabulary" in one for one in texts(faster(small, PI4, 512))), "its head is a small part"


def test_what_would_fit_is_a_shorter_context_or_fewer_bits_or_a_bigger_board() -> None:
    found = texts(smaller(LLAMA.quantised("F16"), device("pi4-2gb"), 1024))
    assert any(one.startswith("Q6_K: 1.0") for one in found)
    assert any(one.startswith("Raspberry Pi 4, 4 GB: ") for one in found)
    assert " tokens of context: " in texts(smaller(LLAMA.quantised("Q8_0"), device("pi4-2gb"), 32768))[0]


def test_what_is_offered_for_a_tight_fit_is_smaller_and_has_room() -> None:
    seven = from_config(config("llama", 4096, 11008, 32, (32, 32, 128), 32000), "7B").quantised("Q4_K_M")
    found = list(smaller(seven, device("pi5-8gb"), 4096))
    assert not any(one.tight for one in found)
    assert all(one.bytes <= seven.file_bytes for one in found)
    assert [one.what.partition(",")[0] for one in found][-1] == "--no-repack", "the last resort: it is slower"
    assert any(one.quant != "Q4_K_M" for one in found)


def test_a_bigger_board_of_the_same_kind_is_named_even_if_it_is_tight() -> None:
    seven = from_config(config("llama", 4096, 11008, 32, (32, 32, 128), 32000), "7B").quantised("Q4_K_M")
    board = next(one for one in smaller(seven, device("pi5-4gb"), 4096) if one.device != "pi5-4gb")
    assert (board.device, board.fits, board.tight) == ("pi5-8gb", True, True)
    assert str(board).endswith(", tight")


def test_where_no_quantisation_fits_another_student_is_named() -> None:
    huge = from_config(MODELS["DeepSeek-R1-Distill-Llama-8B"], "8B").quantised("Q8_0")
    found = texts(smaller(huge, device("pi4-2gb"), 1024))
    assert any(one.startswith("a student of 250M weights (hidden size 1024, 20 layers, vocabulary 32,768)") for one in found)
    tiny = replace(device("pi4-2gb"), ram_mib=700)
    assert any(
        "a student of 60M weights" in one or "a student of 110M weights" in one for one in texts(smaller(huge, tiny, 1024))
    )


def test_rows_that_do_not_divide_by_256_suit_other_quantisations() -> None:
    odd = from_config(MODELS["Qwen2.5-0.5B"], "x")
    assert (suited(LLAMA, PI4)[0], suited(odd, PI4)[0]) == ("Q4_K_M", "Q4_0")
