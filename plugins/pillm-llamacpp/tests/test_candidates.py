"""What is tried on a device."""

from __future__ import annotations

import pytest
from pillm_llamacpp.choosing.candidates import bits, block, quantisations, stored, tensor_types
from pillm_llamacpp.quantizing.quants import FTYPES

import pillm

BOARDS = ("pi4-2gb", "pi4-4gb", "pi4-8gb", "pi5-4gb", "pi5-8gb")


@pytest.mark.parametrize("board", BOARDS)
@pytest.mark.parametrize("columns", [256, 896, 576])
def test_types_that_a_board_runs_badly_are_never_tried(board: str, columns: int) -> None:
    profile = pillm.device(board)
    quants, types = quantisations(profile, [columns]), tensor_types(profile, columns)
    assert quants
    assert types
    assert not [name for name in (*quants, *types) if name.startswith(("IQ1", "IQ2", "IQ3", "TQ"))]
    assert not set(quants) & set(profile.avoid)
    assert not set(types) & profile.compute_bound
    assert set(quants) <= set(FTYPES)


def test_rows_that_do_not_divide_by_256_get_no_k_quants() -> None:
    profile = pillm.device("pi4-4gb")
    assert set(quantisations(profile, [896, 4864])) == {"Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL"}
    assert all(896 % block(type_) == 0 for type_ in tensor_types(profile, 896))
    assert "Q4_K_M" in quantisations(profile, [256, 768])
    assert "Q4_K_M" not in quantisations(profile, [256, 896]), "one odd width is enough"


def test_rows_that_no_block_fits_get_nothing() -> None:
    assert quantisations(pillm.device("pi4-4gb"), [100]) == ()
    assert tensor_types(pillm.device("pi4-4gb"), 100) == ()


def test_types_come_small_first_and_know_their_size() -> None:
    types = tensor_types(pillm.device("pi4-4gb"), 256)
    assert [bits(type_) for type_ in types] == sorted(bits(type_) for type_ in types)
    assert stored("Q4_0", 64) == 36
    assert stored("Q6_K", 512) == 420


def test_a_device_whose_cycles_nobody_knows_takes_every_type() -> None:
    profile = pillm.device("generic-x86")
    if not profile.cycles:
        assert "Q3_K" in tensor_types(profile, 256)
