from __future__ import annotations

import unicodedata

from pillm_llamacpp.gates.strings import HARD_STRINGS, NOT_FOR_WORD_PIECE


def test_there_are_hundreds_of_strings_each_once_and_none_that_a_normalizer_would_change() -> None:
    assert len(HARD_STRINGS) >= 200
    assert len(set(HARD_STRINGS)) == len(HARD_STRINGS)
    assert set(HARD_STRINGS) >= NOT_FOR_WORD_PIECE
    assert [text for text in HARD_STRINGS if unicodedata.normalize("NFC", text) != text] == []
