"""The README of a model: what a hub sorts by, and what a person wants to know."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pillm.artifacts import Figure
from pillm.cards.card import Card, CardFile, Compared, Speed
from pillm.cards.modelcard import model_card
from pillm.cards.terms import Part
from pillm.origins import front_matter

FIGURE = Figure(mean=0.9, low=0.8, high=0.95, rows=40)
CARD = Card(
    name="Nano 2.0M Home", basename="nano", size_label="2.0M", finetune="home", license="MIT", publishable=True,
    terms="May be.",
    parts=(Part(role="base", name="nano-base", license="mit", said_by="model card"), Part(role="teacher", name="big"),
           Part(role="data", name="rows", license="CC0-1.0", rows=9)),
    languages=("fr-CA", "en", "fr"), tags=("distillation",), chosen_by="it is small_ish", lineage={"pillm.data": "d1"},
    system="Be brief.",
    files=(CardFile(file="n-F16.gguf", quant="F16", bytes=4_000_000, sha256="a" * 64),
           CardFile(file="n-Q8_0.gguf", quant="Q8_0", bytes=2_000_000, sha256="b" * 64, chosen=True,
                    scores={"test": {"exact": FIGURE}},
                    speeds=(Speed(device="pi4-4gb", basis="predicted", pp_tps=90, tg_tps=31.26),
                            Speed(device="here", basis="measured", pp_tps=900, tg_tps=310)))),
    compared=(Compared(kind="teacher", name="big", scores={"test": {"exact": FIGURE}}),),
)  # fmt: skip


def read(tmp_path: Path, card: Card, beside: list[str] | None = None) -> tuple[dict[str, object], str]:
    text = model_card(card, beside or [])
    (tmp_path / "README.md").write_text(text, "utf-8")
    return front_matter(tmp_path / "README.md"), text


def test_the_front_matter_is_what_a_hub_sorts_by(tmp_path: Path) -> None:
    said, _ = read(tmp_path, CARD)
    assert said == {
        "license": "mit", "base_model": "nano-base", "base_model_relation": "finetune", "datasets": ["rows"],
        "language": ["en", "fr"], "pipeline_tag": "text-generation", "library_name": "gguf", "tags": ["distillation", "gguf"],
    }  # fmt: skip


def test_what_was_not_trained_is_the_base_in_another_format(tmp_path: Path) -> None:
    fetched = replace(CARD, relation="quantized", parts=CARD.parts[:1])
    said, text = read(tmp_path, fetched)
    assert said["base_model_relation"] == "quantized"
    assert "A model of 2.0M parameters: nano-base as it is, packed for llama.cpp." in text
    said, text = read(tmp_path, replace(fetched, relation="adapter"))
    assert said["base_model_relation"] == "adapter"
    assert "llama-cli -m BASE.gguf --lora n-Q8_0.gguf" in text


def test_an_encoder_embeds_and_does_not_chat(tmp_path: Path) -> None:
    said, text = read(tmp_path, replace(CARD, purpose="feature-extraction"))
    assert said["pipeline_tag"] == "feature-extraction"
    assert "pillm embed n-Q8_0.gguf" in text
    assert "llama-embedding -m n-Q8_0.gguf" in text
    assert "chat" not in text
    assert "ollama" not in text.lower()


def test_a_licence_that_no_hub_knows_is_other_with_its_name(tmp_path: Path) -> None:
    said, _ = read(tmp_path, Card(name="x", basename="x", license="my-terms"))
    assert (said["license"], said["license_name"]) == ("other", "my-terms")


def test_a_void_speed_is_marked_and_says_what_disturbed_it(tmp_path: Path) -> None:
    _, text = read(tmp_path, CARD)
    assert "void" not in text
    disturbed = Speed(device="here", basis="measured", pp_tps=900, tg_tps=310, void=("the clock fell",))
    _, text = read(tmp_path, replace(CARD, files=(replace(CARD.files[1], speeds=(*CARD.files[1].speeds, disturbed)),)))
    assert "| measured, void | 900 | 310 |" in text
    assert "*void*: the machine was disturbed meanwhile (the clock fell), so the figure promises nothing." in text


def test_scores_have_intervals_and_speeds_say_how_they_are_known(tmp_path: Path) -> None:
    _, text = read(tmp_path, CARD)
    assert "| teacher big | 0.900 [0.800, 0.950] |" in text
    assert "| n-Q8\\_0.gguf | 0.900 [0.800, 0.950] |" in text
    assert "| `n-Q8_0.gguf` | pi4-4gb | predicted | 90.0 | 31.3 |" in text
    assert "| `n-Q8_0.gguf` | here | measured | 900 | 310 |" in text
    assert "Take `n-Q8_0.gguf` (2.00 MB): it is small\\_ish." in text


def test_it_tells_how_to_run_what_is_there(tmp_path: Path) -> None:
    _, bare = read(tmp_path, CARD)
    assert "llama-cli -m n-Q8_0.gguf" in bare
    assert "pillm chat n-Q8_0.gguf" in bare
    assert "ollama" not in bare
    assert "SHA256SUMS" not in bare
    assert "`Be brief.`" in bare
    _, whole = read(tmp_path, CARD, ["Modelfile", "grammar.gbnf", "SHA256SUMS"])
    assert "ollama create nano-2.0m-home-v1.0 -f Modelfile" in whole
    assert "--grammar-file grammar.gbnf" in whole
    assert "sha256sum -c SHA256SUMS" in whole


def test_terms_and_lineage_are_said(tmp_path: Path) -> None:
    _, text = read(tmp_path, CARD)
    assert "| teacher | big | – | unknown | – | – |" in text
    assert "May be." in text
    assert "| `pillm.data` | `d1` |" in text


@given(st.text(max_size=40))
def test_no_name_breaks_out_of_its_place(name: str) -> None:
    import tempfile

    card = Card(name=name or "x", basename="x", license=name or None, parts=(Part(role="base", name=name, license="mit"),))
    with tempfile.TemporaryDirectory() as folder:
        said, text = read(Path(folder), card)
        assert said["pipeline_tag"] == "text-generation"
        assert text.count("\n# ") == 1
