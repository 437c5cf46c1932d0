"""Texts that say the same are found: all that are near, and only those."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillm.likeness import NGRAM, Likenesses, likeness, normal, shingles

WORDS = ["la", "lumière", "du", "salon", "cuisine", "allume", "éteins", "please", "the"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=18).map(" ".join)
LONG = "write a short poem about the sea in winter for my mother"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Allume, la  LUMIÈRE !", "allume la lumière"),
        ("ﬁn", "fin"),
        ("e\u0301teins", "éteins"),
        ("STRASSE", "straße"),
        ("?!", "?!"),
    ],
)
def test_case_spaces_punctuation_and_spelling_of_letters_make_no_difference(one: str, other: str) -> None:
    known = Likenesses(0.7)
    known.add(one)
    assert known.repeats(other) == "equal"


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ("allume la lumière du salon", "éteins la lumière du salon", None),
        ("allume la lumière du salon", "allume la lumière de la cuisine", None),
        ("allume la lumière du salon", "allume donc la lumière du salon", "near"),
        ("du salon allume la lumière", "allume la lumière du salon", "near"),
        (f"please {LONG}", LONG, "near"),
        ("please write a short poem about the sea in winter", "please write a long letter to the mayor of my town", None),
        ("?", "!", None),
    ],
)  # fmt: skip
def test_a_near_text_is_told_from_another_request(one: str, other: str, wanted: str | None) -> None:
    known = Likenesses(0.7)
    known.add(one)
    assert known.repeats(other) == wanted


@given(st.lists(TEXTS, max_size=12), TEXTS, st.floats(0.05, 1))
def test_what_is_found_is_what_a_look_at_every_pair_finds(texts: list[str], asked: str, threshold: float) -> None:
    known = Likenesses(threshold)
    for number, text in enumerate(texts):
        if number == len(texts) // 2:
            known.repeats(asked)  # an index that is made early grows with the texts that come later
        known.add(text)
    size = min(NGRAM, max(1, len(normal(asked).split()) // 4))
    near = any(likeness(shingles(normal(text), size), shingles(normal(asked), size)) >= threshold for text in texts)
    equal = normal(asked) in {normal(text) for text in texts}
    assert known.repeats(asked) == ("equal" if equal else "near" if near else None)


@given(TEXTS)
def test_every_text_repeats_itself(text: str) -> None:
    known = Likenesses(0.7)
    assert known.repeats(text) is None
    known.add(text)
    assert known.repeats(text) == "equal"


def test_thousands_of_texts_are_compared_in_seconds() -> None:
    known = Likenesses(0.7)
    rooms, acts = [f"room{number}" for number in range(100)], [f"act{number}" for number in range(50)]
    began = time.monotonic()
    near = 0
    for act in acts:
        for room in rooms:
            text = f"{act} la lumière du {room} s'il te plaît"
            near += known.repeats(text) == "near"
            known.add(text)
    seconds = time.monotonic() - began
    print(f"5,000 texts compared with each other in {seconds:.2f} s; {near} near")
    assert seconds < 20
