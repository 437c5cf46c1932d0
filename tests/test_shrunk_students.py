"""A student with fewer layers and a trimmed vocabulary, from rows to proved GGUF files, with the real trainer and exporter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import pillm

LINES = [
    ("ajoute une marche avec Jessica demain à 17h00", {"name": "create_event", "title": "marche avec Jessica"}),
    ("allume la lumière de la cuisine", {"name": "turn_on", "room": "cuisine"}),
    ("what's the weather in Montréal?", {"name": "weather", "place": "Montréal"}),
    ("mets 2 œufs sur la liste 😀", {"name": "add", "item": "2 œufs"}),
]
STRANGE = [
    "Ça coûte 12 345,67 $ à l'Épicerie — d'accord?",
    "日本語 ≠ Ελληνικά 👩‍🚀",
    "\tdeux\n\n  espaces \u00a0",
    "print('don\\'t')",
]
QUANTS = ["F16", "Q8_0"]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    splits = ["train", "train", "validation", "calibration"]
    made = [
        {"id": f"r{number}", "user": asked, "assistant": json.dumps(told, ensure_ascii=False), "split": split}
        for number, ((asked, told), split) in enumerate(zip(LINES * 6, splits * 6, strict=True))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made), "utf-8")
    return path


def facts_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "training.json").read_text("utf-8")))


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"keep_layers": [0, 1, 3], "trim_vocabulary": True}, id="cut down"),
        pytest.param(
            {"init": "random", "config": {"hidden_size": 128, "num_hidden_layers": 2}, "trim_vocabulary": True},
            id="from scratch",
            marks=pytest.mark.full,
        ),
    ],
)
def test_a_small_student_survives_export_and_llama_cpp_reads_every_text_as_its_tokenizer_does(
    options: dict[str, Any], rows: Path, tmp_path: Path
) -> None:
    from pillm_llamacpp.gates.strings import HARD_STRINGS
    from pillm_llamacpp.workers.client import Worker
    from transformers import AutoTokenizer

    asked = tuple(
        pillm.Prompt(id=f"t{number}", messages=({"role": "user", "content": text},)) for number, text in enumerate(STRANGE)
    )
    trainer = pillm.trainer("full", base="nano-base", num_train_epochs=1, learning_rate=1e-4, **options)
    checkpoint = pillm.train(pillm.read_examples(rows), trainer, tmp_path / "train", settings=pillm.Training(probes=asked))
    models = list(pillm.export(checkpoint, pillm.exporter("gguf", quants=QUANTS, threads=1), tmp_path / "export"))
    probes = list(checkpoint.probes())
    assert [model.quant for model in models] == QUANTS
    assert {model.parity for model in models} == {pillm.Parity(rows=len(probes) + len(HARD_STRINGS), mismatches=0)}

    size = facts_of(checkpoint.path)["start"]["vocabulary"]
    assert size["after"] < size["before"] == 1536
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.path)
    assert len(tokenizer) == size["after"]
    with Worker("a test") as llama:
        llama.ask(op="open", path=str(models[1].path), vocab_only=True)
        for text in [*STRANGE, *HARD_STRINGS, *(probe.text for probe in probes)]:
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert llama.ask(op="tokenize", text=text)["ids"] == ids
            assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
