from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pillm_llamacpp.converting.conversion import Converted
from pillm_llamacpp.gates import parity
from pillm_llamacpp.gates.checks import Findings
from pillm_llamacpp.gates.strings import HARD_STRINGS
from pillm_llamacpp_tiny import SENTENCES, SPECIALS

import pillm

Proof = tuple[Path, Converted, Findings]


def prove(
    proof: Proof, checkpoint: pillm.Checkpoint, made: Converted | None = None, told: Findings | None = None
) -> pillm.Parity:
    return parity.prove(proof[0], parity.rows_of(checkpoint), made or proof[1], told or proof[2])


def test_every_row_of_the_data_and_every_built_in_string_is_compared(proof: Proof, checkpoint: pillm.Checkpoint) -> None:
    rows = parity.rows_of(checkpoint)
    assert [row.id for row in rows[: len(SENTENCES)]] == [f"row-{number}" for number in range(len(SENTENCES))]
    assert len(rows) == len(SENTENCES) + len(HARD_STRINGS)
    assert prove(proof, checkpoint) == pillm.Parity(rows=len(rows), mismatches=0)


def test_special_tokens_are_known_by_text_and_id(proof: Proof) -> None:
    assert proof[1].specials == {text: [number, number] for text, number in SPECIALS.items()}
    assert proof[2].specials == SPECIALS


def test_a_special_token_with_another_id_than_in_training_is_found(proof: Proof, checkpoint: pillm.Checkpoint) -> None:
    told = replace(proof[2], specials={**SPECIALS, "<|im_start|>": 7})
    with pytest.raises(pillm.BackendError, match=r"'<\|im_start\|>' was 7 in training and is 1 in the reloaded tokenizer"):
        prove(proof, checkpoint, told=told)


def test_a_special_token_that_llama_cpp_reads_otherwise_is_found(proof: Proof, checkpoint: pillm.Checkpoint) -> None:
    made = proof[1]._replace(specials={**proof[1].specials, "<|other|>": [9, 9]})
    with pytest.raises(pillm.BackendError, match=r"'<\|other\|>' is \[9\] for the reloaded tokenizer and \[\d+, .* for llama"):
        prove(proof, checkpoint, made)


def test_an_end_that_generation_config_names_must_end_an_answer(proof: Proof, checkpoint: pillm.Checkpoint) -> None:
    prove(proof, checkpoint, told=replace(proof[2], ends=(2,)))
    with pytest.raises(pillm.BackendError, match=r"ends an answer at token 1 \('<\|im_start\|>'\), and llama\.cpp would not"):
        prove(proof, checkpoint, told=replace(proof[2], ends=(2, 1)))
