"""The assistant data set says numbers, times and articles as people say them."""

from __future__ import annotations

import re
import sys

import pytest

from tests.assistant import generator, layers, moments, spoken, tools


@pytest.mark.parametrize(
    ("lang", "n", "said"),
    [
        ("fr", 0, "zéro"), ("fr", 21, "vingt et un"), ("fr", 71, "soixante et onze"),
        ("fr", 80, "quatre-vingts"), ("fr", 81, "quatre-vingt-un"), ("fr", 97, "quatre-vingt-dix-sept"),
        ("fr", 100, "cent"), ("en", 13, "thirteen"), ("en", 42, "forty-two"), ("en", 100, "a hundred"),
    ],
)  # fmt: skip
def test_numbers_are_spelt_as_people_say_them(lang: str, n: int, said: str) -> None:
    assert spoken.words(lang, n) == said


def test_every_spoken_time_is_a_time_of_day() -> None:
    rng = generator.Random(4)
    for _ in range(2000):
        for lang in ("fr", "en"):
            values = moments.when(rng, lang, "")[1]
            assert re.fullmatch(tools.CLOCK, values["time"])
            assert values["date"] in tools.TOOLS["create_event"][0]["date"]["enum"]


def test_french_articles_contract_and_elide() -> None:
    lexicon = generator.lexicons()["fr"]
    forms = {
        ("le salon", "de"): "du salon", ("la cuisine", "de"): "de la cuisine",
        ("l'entrée", "de"): "de l'entrée", ("les devoirs", "de"): "des devoirs",
        ("Alice", "de"): "d'Alice", ("le plombier", "a"): "au plombier",
        ("le salon", "in"): "dans le salon", ("une école", "def"): "l'école",
        ("l'huile", "of"): "d'huile", ("le yogourt", "of"): "de yogourt", ("on part", "que"): "qu'on part",
    }  # fmt: skip
    for (noun, form), said in forms.items():
        before, head = sys.modules["grammar"].inflect(lexicon.lang, noun, form)
        assert before + head == said


def test_a_frame_with_an_unknown_slot_is_refused() -> None:
    lexicon = generator.lexicons()["fr"]
    with pytest.raises(ValueError, match="no fr slot"):
        lexicon.compile("allume {zzz}")
    with pytest.raises(ValueError, match="parenthes"):
        lexicon.compile("allume (ça|là")


def test_accents_fall_inside_and_outside_the_slots_alike() -> None:
    spans = [("éteins ", None), ("l'écran", "name")]
    tags: list[str] = []
    assert layers.every(spans, layers.plain, tags, "no-accents") == [
        ("eteins ", None),
        ("l'ecran", "name"),
    ]
    assert tags == ["no-accents"]
