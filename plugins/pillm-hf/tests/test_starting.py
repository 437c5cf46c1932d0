"""The folder that a training starts from: smaller or new students are trained, saved and asked like any other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import Full, HFRunner
from pillm_hf.models.hub import content_hash
from pillm_hf.models.loading import load_model
from pillm_hf.rows.opening import load_chat
from pillm_hf.shrinking import starting, vocabulary

import pillm

TEXTS = [
    "le conseil municipal adopte un budget pour la bibliothèque du quartier", "la rivière monte quand fondent les neiges",
    "nous cherchons une chambre avec vue sur le fleuve", "quelqu'un a laissé ses bottes devant la porte de l'atelier",
    "les horaires d'ouverture changent pendant les vacances d'hiver", "un orchestre symphonique répète au sous-sol du musée",
    "veuillez apporter votre passeport et deux photographies récentes", "le jardinier plante des framboisiers près du hangar",
]  # fmt: skip
FAST = {"num_train_epochs": 1, "per_device_train_batch_size": 10, "learning_rate": 1e-3, "save_dtype": "float16"}


@pytest.fixture(scope="module")
def wide(base: Path, pairs: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny base with a vocabulary that knows much more than the task's words."""
    from tokenizers import Tokenizer, trainers

    folder = Path(shutil.copytree(base, tmp_path_factory.mktemp("wide") / "wide"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    special = [token for _, token in sorted(tokenizer.get_added_tokens_decoder().items())]
    alphabet = [text for text in tokenizer.get_vocab() if len(text) == 1]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([*TEXTS * 4, *(text for pair in pairs for text in pair)], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    model = load_model(folder, torch.float32)
    model.resize_token_embeddings(tokenizer.get_vocab_size() + 8)  # rows that no token has, as published bases have them
    model.save_pretrained(folder)
    return folder


def train(data: pillm.TrainingData, out: Path, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """Return training.json and what was noted and warned of."""
    events: list[pillm.Event] = []
    Full(**FAST | options).train(data, out, pillm.Progress("train", (events.append,)))
    log = json.loads((out / "training.json").read_text("utf-8"))
    return log, [event.message for event in events if event.kind in ("note", "warning")]


def test_a_smaller_student_is_trained_saved_and_asked_with_its_own_tokenizer(
    wide: Path, data: pillm.TrainingData, requests: list[pillm.Request], tmp_path: Path
) -> None:
    log, told = train(data, tmp_path, base=str(wide), keep_layers=1, trim_vocabulary=True)
    size = json.loads((tmp_path / "config.json").read_text("utf-8"))["vocab_size"]
    before = json.loads((wide / "config.json").read_text("utf-8"))["vocab_size"]
    assert size < before
    assert log["start"] == {
        "init": "base",
        "layers": {"before": 2, "after": 1, "kept": [0]},
        "vocabulary": {"before": before, "after": size},
        "hidden_size": {"before": 64, "after": 64},
        "head_bytes": {"before": before * 128, "after": size * 128},
    }
    assert told == [
        f"the student starts from the base's weights: layers 2 -> 1, vocabulary {before} -> {size}, "
        f"bytes of the head {before * 128:,} -> {size * 128:,}."
    ]
    chat = load_chat(tmp_path)
    assert len(chat.tokenizer) == size == len(load_model(tmp_path, "auto").get_input_embeddings().weight)
    assert all(chat.encode([probe.text]) == [list(probe.ids)] for probe in pillm.Checkpoint(path=tmp_path).probes())
    assert pillm.Checkpoint(path=tmp_path).contract["special_tokens"] == {
        "<|endoftext|>": 0,
        "<|im_start|>": 1,
        "<|im_end|>": 2,
    }
    kept = vocabulary.read_kept(tmp_path)
    assert kept is not None
    assert (len(kept), list(kept.values())) == (size, list(range(size)))
    assert chat.tokenizer.convert_ids_to_tokens(list(kept.values())) == load_chat(wide).tokenizer.convert_ids_to_tokens(
        list(kept)
    )
    assert not list(tmp_path.glob(".*"))
    with HFRunner(dtype="float32", max_new_tokens=4).open(pillm.Checkpoint(path=tmp_path)) as session:
        assert all(isinstance(answer, pillm.Answer) for _, answer in session.answer(iter(requests[:2])))


def test_every_text_keeps_its_tokens_and_every_token_its_row(wide: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    made = starting.start(Full(base=str(wide), trim_vocabulary=True), data, wide, tmp_path, pillm.Progress())
    old, new = load_chat(wide), load_chat(made.folder)
    tables = [load_model(folder, torch.float32).get_input_embeddings().weight for folder in (wide, made.folder)]
    for row in (*data.train, *data.validation, *data.calibration):
        (before,), (after,) = (chat.encode([chat.conversation(data.contract.conversation(row))]) for chat in (old, new))
        assert new.tokenizer.convert_ids_to_tokens(after) == old.tokenizer.convert_ids_to_tokens(before)
        assert torch.equal(tables[1][after], tables[0][before])
    for text in (*TEXTS, "Ω ≠ 漢字 😀\n\t\0"):
        assert new.decode(new.encode([text])[0]) == text
    assert len(new.encode([TEXTS[0]])[0]) > len(old.encode([TEXTS[0]])[0])


def test_texts_of_files_and_probes_of_every_split_keep_their_tokens_too(
    wide: Path, data: pillm.TrainingData, tmp_path: Path
) -> None:
    (tmp_path / "more.txt").write_text(TEXTS[0] + "\n", "utf-8")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"user": TEXTS[1]}) + "\n", "utf-8")
    asked = (pillm.Prompt(id="t", messages=({"role": "user", "content": TEXTS[2]},), split="test"),)
    options = Full(base=str(wide), trim_vocabulary=True, vocabulary_files=[tmp_path / "more.txt", tmp_path / "rows.jsonl"])
    made = starting.start(options, replace(data, probes=asked), wide, tmp_path, pillm.Progress())
    old, new = load_chat(wide), load_chat(made.folder)
    same = [len(old.encode([text])[0]) == len(new.encode([text])[0]) for text in TEXTS]
    assert same[:3] == [True, True, True]
    assert not all(same)


def test_a_vocabulary_is_filled_up_to_the_size_asked_for(wide: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    sizes = {}
    for asked in (None, 450, 10**6):
        options = Full(base=str(wide), trim_vocabulary=True, vocabulary_size=asked)
        folder = starting.start(options, data, wide, tmp_path, pillm.Progress()).folder
        sizes[asked] = json.loads((folder / "config.json").read_text("utf-8"))["vocab_size"]
    assert sizes[None] < sizes[450] == 512
    assert sizes[10**6] == len(load_chat(wide).tokenizer)


def test_a_tokenizer_that_its_class_rebuilds_on_loading_is_trimmed_the_same_way(
    wide: Path, data: pillm.TrainingData, tmp_path: Path
) -> None:
    qwen = Path(shutil.copytree(wide, tmp_path / "qwen"))
    settings = json.loads((qwen / "tokenizer_config.json").read_text("utf-8"))
    (qwen / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "Qwen2Tokenizer"}), "utf-8")
    made = starting.start(Full(base=str(qwen), trim_vocabulary=True), data, qwen, tmp_path, pillm.Progress())
    chat = load_chat(made.folder)
    assert type(chat.tokenizer).__name__ == "Qwen2Tokenizer"
    assert len(chat.tokenizer) < len(load_chat(qwen).tokenizer)
    assert chat.decode(chat.encode(["11h45, déjà vu"])[0]) == "11h45, déjà vu"


def test_a_text_with_other_tokens_than_before_stops_the_training(
    wide: Path, data: pillm.TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trim = vocabulary.trim

    def lossy(*given: Any) -> vocabulary.Trimmed:
        made = trim(*given)
        made.tokenizer["model"]["merges"] = made.tokenizer["model"]["merges"][::2]
        return made

    monkeypatch.setattr(vocabulary, "trim", lossy)
    with pytest.raises(pillm.BackendError, match=r"trim_vocabulary: r0 has other tokens .* nothing was trained"):
        train(data, tmp_path, base=str(wide), trim_vocabulary=True)


def test_a_base_as_it_stands_is_trained_as_it_stands(base: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    assert starting.start(Full(base=str(base)), data, base, tmp_path, pillm.Progress()) == starting.Start(base)
    assert not list(tmp_path.glob(".start"))
    assert "start" not in train(data, tmp_path, base=str(base))[0]
    assert vocabulary.read_kept(tmp_path) is None


def test_what_a_kill_left_is_made_anew_and_byte_for_byte_the_same(wide: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    options = Full(base=str(wide), init="random", config={"num_hidden_layers": 1}, trim_vocabulary=True)
    hashes = []
    for _ in range(2):
        folder = starting.start(options, data, wide, tmp_path, pillm.Progress()).folder
        hashes.append(content_hash(folder))
        (folder / "model.safetensors").write_bytes(b"half")
        (folder / "left.safetensors").write_bytes(b"over")
    assert hashes[0] == hashes[1]


def test_a_student_from_scratch_has_the_sizes_asked_for_and_the_seeds_weights(
    base: Path, data: pillm.TrainingData, tmp_path: Path
) -> None:
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "intermediate_size": 48}
    log, told = train(data, tmp_path / "one", base=str(base), init="random", config=sizes)
    config = json.loads((tmp_path / "one" / "config.json").read_text("utf-8"))
    assert {name: config[name] for name in sizes} == sizes
    assert config["head_dim"] == 8
    assert log["start"]["layers"] == {"before": 2, "after": 3, "kept": []}
    assert told == [
        "the student starts from random weights: layers 2 -> 3, hidden size 64 -> 32, bytes of the head 40,960 -> 20,480."
    ]
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / "one" / name).read_bytes() == (base / name).read_bytes()
    train(data, tmp_path / "same", base=str(base), init="random", config=sizes)
    train(data, tmp_path / "other", base=str(base), init="random", config=sizes, seed=9)
    one, same, other = (content_hash(tmp_path / name) for name in ("one", "same", "other"))
    assert one == same != other


def test_layers_out_of_pattern_are_warned_of(data: pillm.TrainingData, make: Callable[..., Path], tmp_path: Path) -> None:
    folder = make(tmp_path / "qwen", kind="qwen2")
    path = folder / "config.json"
    odd = {"layer_types": ["full_attention", "sliding_attention"], "use_sliding_window": True, "sliding_window": 64}
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | odd | {"max_window_layers": 1}), "utf-8")
    told = train(data, tmp_path / "out", base=str(folder), keep_layers=[1])[1]
    assert any("the layers [1] are not of the kinds that qwen2 has at these places" in line for line in told)


def test_what_cannot_be_made_is_refused_before_anything_is_read(base: Path, tmp_path: Path) -> None:
    for wrong, reason in (
        ({"keep_layers": 3}, "keep_layers=3: the base has 2 layers"),
        ({"keep_layers": [2]}, "the base's are 0 to 1"),
        ({"init": "random", "config": {"hidden_size": 62}}, "hidden_size=62 is no multiple"),
    ):
        with pytest.raises(pillm.ConfigError, match=reason):
            Full(base=str(base), **wrong).check()
    other = Path(shutil.copytree(base, tmp_path / "other"))
    (other / "tokenizer.json").write_text(json.dumps({"model": {"type": "Unigram", "vocab": [["a", -1.0]]}}), "utf-8")
    with pytest.raises(pillm.ConfigError, match="is a Unigram model; only a byte-level BPE"):
        Full(base=str(other), trim_vocabulary=True).check()
    Full(base=str(other), keep_layers=1).check()
    with pytest.raises(pillm.DataError, match=r"vocabulary_files: .*none\.txt cannot be read"):
        Full(base=str(base), trim_vocabulary=True, vocabulary_files=[tmp_path / "none.txt"]).check()


@pytest.mark.parametrize(
    ("options", "exact"),
    [
        ({"keep_layers": 1}, True),
        ({"init": "random", "config": {"hidden_size": 32, "num_hidden_layers": 3, "intermediate_size": 48}}, True),
        ({"keep_layers": 1, "trim_vocabulary": True, "vocabulary_size": 450}, True),
        ({"trim_vocabulary": True}, False),
        ({"trim_vocabulary": True, "vocabulary_size": 10**6}, False),
    ],
)
def test_the_planned_shape_is_the_students_or_larger(
    wide: Path, data: pillm.TrainingData, tmp_path: Path, options: dict[str, Any], exact: bool
) -> None:
    trainer = Full(base=str(wide), **options)
    planned = trainer.planned_shape()
    assert planned is not None
    made = pillm.Checkpoint(path=starting.start(trainer, data, wide, tmp_path, pillm.Progress()).folder).config
    device = pillm.device("pi4-4gb")
    expected, found = pillm.plan(planned, device, quant="Q8_0"), pillm.plan(tmp_path / ".start", device, quant="Q8_0")
    assert planned["num_hidden_layers"] == made["num_hidden_layers"]
    assert (expected.bytes == found.bytes) if exact else (expected.bytes > found.bytes)
    assert expected.bytes <= pillm.plan(wide, device, quant="Q8_0").bytes or options.get("init") == "random"


def test_a_student_shaped_as_its_base_has_no_planned_shape(wide: Path) -> None:
    assert Full(base=str(wide)).planned_shape() is None


def test_the_planned_shape_of_a_base_that_is_not_here_needs_its_config(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(pillm.Unavailable, match="owner/not-here is not complete"):
        Full(base="owner/not-here", keep_layers=1).planned_shape()
