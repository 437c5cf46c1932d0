from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pillm_llamacpp import source
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.gates.examination import row_lengths
from pillm_llamacpp_students import HIDDEN, Q_PROJ, write_adapter, write_student
from pillm_llamacpp_tiny import write_model
from pillm_llamacpp_zoo import add_beyond, sentence_pieces
from safetensors.numpy import load_file, save_file

import pillm


def copy(checkpoint: pillm.Checkpoint, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint.path, tmp_path / "copy"))


def edit(path: Path, **more: Any) -> None:
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.is_file() else {}), **more}))


def examined(folder: Path, **asked: Any) -> dict[str, pillm.Finding]:
    options = {name: asked.pop(name) for name in ("quants", "pre", "base", "adapter") if name in asked}
    return {one.name: one for one in GGUFExporter(**options).examine(pillm.Checkpoint(path=folder), **asked)}


def wrong(found: dict[str, pillm.Finding]) -> list[str]:
    return [name for name, one in found.items() if one.wrong]


def test_a_sound_model_has_nothing_wrong_and_everything_was_looked_at(checkpoint: pillm.Checkpoint) -> None:
    found = examined(checkpoint.path)
    assert wrong(found) == []
    assert found.keys() >= {
        "code", "architecture", "weights", "output head", "tokenizer", "pre-tokenizer", "vocabulary", "special tokens",
        "chat template", "quantisations", "files",
    }  # fmt: skip
    assert found["files"].state == "ok"
    assert "'gpt-2'" in found["pre-tokenizer"].detail
    assert found["quantisations"].state == "ok"


def test_the_token_gate_runs_on_the_tokenizer_alone(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    (folder := copy(checkpoint, tmp_path)).joinpath("probes.jsonl").unlink()
    found = examined(folder, prove=True)["token gate"]
    assert found.state == "ok"
    assert "3 special tokens" in found.detail


@pytest.mark.full
def test_an_added_token_beyond_the_embedding_is_left_out_and_the_token_gate_holds(tmp_path: Path) -> None:
    folder = write_student(tmp_path / "gemma", "gemma3")
    tokenizer = sentence_pieces("never")
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {"bos_token": "<s>", "eos_token": "<|im_end|>", "unk_token": "<unk>", "tokenizer_class": "PreTrainedTokenizerFast"}
    edit(folder / "tokenizer_config.json", **told)
    (folder / "generation_config.json").unlink()
    size = tokenizer.get_vocab_size()
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "model.embed_tokens.weight": np.zeros((size, HIDDEN), np.float16)}, folder / "model.safetensors")
    edit(folder / "config.json", vocab_size=size)
    add_beyond(folder, "<image_soft_token>")
    found = examined(folder, prove=True)
    assert wrong(found) == []
    assert f"1 tokens have no row in the embedding of {size}: '<image_soft_token>' ({size})" in found["vocabulary"].detail
    assert found["token gate"].state == "ok"
    edit(folder / "generation_config.json", eos_token_id=size)
    assert "has no row in the embedding" in examined(folder)["special tokens"].detail


@pytest.mark.full
def test_a_tokenizer_that_the_token_gate_refuses_is_broken(checkpoint: pillm.Checkpoint) -> None:
    told = examined(checkpoint.path, prove=True, pre="qwen2")["token gate"]
    assert told.state == "broken"
    assert "parity: row-" in told.detail


@pytest.mark.parametrize(
    ("file", "more", "name", "words"),
    [
        ("config.json", {"architectures": ["ParrotForCausalLM"]}, "architecture", "does not know the architecture Parrot"),
        ("config.json", {"model_type": "own", "auto_map": {"AutoModel": "own.Own"}}, "code", "auto_map in config.json"),
        ("config.json", {"tie_word_embeddings": False}, "output head", "there is no lm_head.weight"),
        ("config.json", {"vocab_size": 300}, "files", "vocab_size is 300"),
        ("generation_config.json", {"eos_token_id": [2, 77]}, "special tokens", "token 77, which is the ordinary text"),
        ("generation_config.json", {"eos_token_id": 9999}, "special tokens", "no token of tokenizer.json"),
        ("tokenizer_config.json", {"eos_token": "."}, "special tokens", "'.' is no token of its own"),
        ("tokenizer_config.json", {"eos_token": None}, "special tokens", "nothing ends an answer"),
    ],
)
def test_what_would_stop_an_export_is_named(
    checkpoint: pillm.Checkpoint, tmp_path: Path, file: str, more: dict[str, Any], name: str, words: str
) -> None:
    folder = copy(checkpoint, tmp_path)
    (folder / "contract.json").unlink()
    edit(folder / file, **more)
    found = examined(folder)
    assert wrong(found) == [name]
    assert words in found[name].detail


@pytest.mark.parametrize(
    ("template", "words"),
    [
        (
            "{% if messages[0].role != 'system' %}{{ raise_exception('no questions') }}{% endif %}x",
            "does not render a question: no questions",
        ),
        ("hello", "without its words"),
        (None, "has no chat template"),
    ],
)
def test_a_template_that_asks_nothing_is_found(
    checkpoint: pillm.Checkpoint, tmp_path: Path, template: str | None, words: str
) -> None:
    folder = copy(checkpoint, tmp_path)
    path = folder / "chat_template.jinja"
    path.unlink() if template is None else path.write_text(template)
    assert words in examined(folder)["chat template"].detail


def test_a_template_that_renders_nothing_at_all_stops_at_the_door(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    folder = copy(checkpoint, tmp_path)
    (folder / "chat_template.jinja").write_text("{{ messages[0].content.nothing.at_all }}")
    found = examined(folder)
    assert wrong(found) == ["files"]
    assert "renders no conversation, not even one question" in found["files"].detail


def test_tokens_without_rows_and_repeated_texts_are_found(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    folder = copy(checkpoint, tmp_path)
    document = json.loads((folder / "tokenizer.json").read_text())
    added = document["added_tokens"][0]
    edit(folder / "tokenizer.json", added_tokens=[*document["added_tokens"], {**added, "id": 400, "content": "<new>"}])
    assert "'<new>' (400)" in examined(folder)["vocabulary"].detail
    edit(folder / "tokenizer.json", added_tokens=[*document["added_tokens"], {**added, "id": 399, "content": "<|im_end|>"}])
    assert "<|im_end|>" in examined(folder)["files"].detail


def test_weights_in_fewer_bits_or_in_a_pickle_are_found(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    folder = copy(checkpoint, tmp_path)
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "model.norm.weight": np.ones(256, np.int8)}, folder / "model.safetensors")
    assert "I8 is no full precision" in examined(folder)["weights"].detail
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "as a pickle" in examined(folder)["weights"].detail


def test_a_file_that_contradicts_itself_is_found(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    folder = copy(checkpoint, tmp_path)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])
    assert wrong(examined(folder)) == ["files"]


def test_odd_widths_are_a_note_that_names_the_better_type(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "narrow", hidden=96, probes=False, layers=1).path
    found = examined(folder)["quantisations"]
    assert found.state == "note"
    assert "hidden_size 96" in found.detail
    assert "Q4_K_M" in found.detail
    assert "IQ4_NL is the better" in found.remedy
    assert examined(folder, quants=["Q8_0"])["quantisations"].state == "ok"


def test_of_what_is_trained_of_a_base_the_weights_do_not_matter_and_its_own_shape_does(
    checkpoint: pillm.Checkpoint, tmp_path: Path
) -> None:
    folder = copy(checkpoint, tmp_path)
    (folder / "model.safetensors").unlink()
    found = examined(folder, student={**checkpoint.config, "hidden_size": 96})
    assert wrong(found) == []
    assert "hidden_size 96" in found["quantisations"].detail


def test_without_the_converter_that_is_said_and_the_rest_still_looked_at(
    checkpoint: pillm.Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = examined(checkpoint.path, prove=True)
    assert wrong(found) == ["converter"]
    assert source.REMEDY in found["converter"].detail
    assert "vocabulary" in found
    assert "token gate" not in found


def test_a_folder_that_cannot_be_read_is_one_finding(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")
    assert wrong(examined(tmp_path)) == ["files"]
    (tmp_path / "config.json").unlink()
    assert wrong(examined(tmp_path)) == ["folder"]


def test_of_an_adapter_its_base_is_examined_too_by_the_steps_of_an_export(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "mine", checkpoint.path).path
    found = examined(folder)
    assert wrong(found) == []
    assert "LoRA of rank 4" in found["adapter"].detail
    assert found.keys() >= {"architecture", "output head", "memory", "files"}
    settings = folder / "adapter_config.json"
    edit(settings, base_model_name_or_path="somebody-nowhere")
    assert wrong(examined(folder)) == ["base"]
    assert wrong(examined(folder, base=str(checkpoint.path))) == []
    edit(settings, peft_type="PROMPT_TUNING")
    assert "only LoRA and DoRA are merged here" in examined(folder)["adapter"].detail
    (folder / "adapter_model.safetensors").unlink()
    edit(settings, peft_type="LORA")
    assert "holds no adapter_model.safetensors" in examined(folder)["adapter"].detail


def test_a_dora_is_exported_merged_and_not_alone(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    lengths = {f"{Q_PROJ}.lora_magnitude_vector": np.ones(256, np.float32)}
    folder = write_adapter(tmp_path / "mine", checkpoint.path, lengths, use_dora=True).path
    assert "with magnitudes (DoRA)" in examined(folder)["adapter"].detail
    assert "a file of its own has no place for its lengths" in examined(folder, adapter="only")["adapter"].detail


def test_an_adapters_own_tokenizer_is_the_one_that_is_examined_and_its_path_is_named(
    checkpoint: pillm.Checkpoint, tmp_path: Path
) -> None:
    folder = write_adapter(tmp_path / "mine", checkpoint.path).path
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(checkpoint.path / name, folder / name)
    digits = {"type": "Digits", "individual_digits": True}
    level = json.loads((folder / "tokenizer.json").read_text())["pre_tokenizer"]
    edit(folder / "tokenizer.json", pre_tokenizer={"type": "Sequence", "pretokenizers": [digits, level]})
    edit(folder / "generation_config.json", eos_token_id=9999)
    found = examined(folder)
    assert "'smollm'" in found["pre-tokenizer"].detail
    assert wrong(found) == ["special tokens"]
    assert found["special tokens"].detail.startswith(f"{folder}/generation_config.json ends an answer at token 9999")


def test_a_base_for_a_whole_model_is_wrong_as_it_is_for_an_export(checkpoint: pillm.Checkpoint) -> None:
    assert "is a whole model" in examined(checkpoint.path, base="nano-base")["base"].detail


def test_row_lengths_are_those_of_the_settings_that_say_so() -> None:
    config = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "head_dim": 32}
    assert row_lengths(config) == {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads x head_dim": 128}
    assert row_lengths({"text_config": {"hidden_size": 64}}) == {"hidden_size": 64}
    assert row_lengths({}) == {}
