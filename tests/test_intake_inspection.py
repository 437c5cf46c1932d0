from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pillm.intake.faults import Fault
from pillm.intake.inspection import files_of, is_read, look_at_file, look_at_folder, open_regular
from pillm.testing.ggufs import Typed, gguf
from pillm.testing.hostile import MODEL, SOUND, TEMPLATE, TENSORS, safetensors

TABLE = {"model.embed_tokens.weight": {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]}}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 4}))
    (folder / "model.safetensors").write_bytes(safetensors(TABLE, 32))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "notes.json").write_text("not JSON, and nobody reads it")
    return folder


def test_a_sound_folder_has_nothing_worth_telling_but_its_template(model: Path) -> None:
    assert look_at_folder(model) == ((), (TEMPLATE,))
    assert [path.name for path in files_of(model)] == ["chat_template.jinja", "config.json", "model.safetensors"]
    assert not is_read("notes.json")


def test_a_file_is_looked_at_as_what_its_name_says(model: Path, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(SOUND)
    assert look_at_file(tmp_path / "x.gguf").templates == (TEMPLATE,)
    assert look_at_file(model / "chat_template.jinja").templates == (TEMPLATE,)
    assert look_at_file(model / "model.safetensors") == ((), ())
    with pytest.raises(Fault, match="not JSON"):
        look_at_file(model / "notes.json")


def test_a_link_that_leads_out_of_the_folder_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text("{}")
    (model / "generation_config.json").symlink_to(tmp_path / "passwords")
    with pytest.raises(Fault, match="leads out of the folder") as caught:
        look_at_folder(model)
    assert caught.value.name == "generation_config.json"


def test_the_files_of_one_model_may_be_linked_into_another_folder(model: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").mkdir()
    for path in model.iterdir():
        (tmp_path / "linked" / path.name).symlink_to(path)
    assert look_at_folder(tmp_path / "linked") == ((), (TEMPLATE,))
    (model / "model.safetensors").unlink()
    with pytest.raises(Fault, match="leads nowhere"):
        look_at_folder(tmp_path / "linked")


def test_links_within_the_folder_and_into_the_cache_of_the_hub_are_followed(model: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "repo" / "blobs", tmp_path / "repo" / "snapshots" / "abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in list(model.iterdir()):
        path.rename(blobs / path.name)
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    (snapshot / "generation_config.json").symlink_to("config.json")
    assert look_at_folder(snapshot) == ((), (TEMPLATE,))


def test_a_pipe_in_a_folder_is_refused_whatever_its_name(model: Path) -> None:
    os.mkfifo(model / "readme")
    with pytest.raises(Fault, match="a pipe or a device") as caught:
        look_at_folder(model)
    assert caught.value.name == "readme"
    with pytest.raises(Fault, match="a pipe or a device"):
        open_regular(model / "readme")


def test_a_tokenizer_with_more_ids_than_the_weights_have_rows_is_told(model: Path) -> None:
    said = {"model": {"type": "BPE", "vocab": {text: number for number, text in enumerate("abcdef")}, "merges": []}}
    (model / "tokenizer.json").write_text(json.dumps(said))
    (note,) = look_at_folder(model).notes
    assert "ids up to 5, and the weights have embeddings for 4 tokens" in note


def test_a_template_other_than_that_of_the_training_is_flagged(model: Path) -> None:
    (model / "contract.json").write_text(json.dumps({"template": TEMPLATE + "\n"}))
    assert look_at_folder(model).notes == ()
    for place in range(len(TEMPLATE)):
        (model / "contract.json").write_text(json.dumps({"template": TEMPLATE[:place] + " " + TEMPLATE[place:]}))
        (note,) = look_at_folder(model).notes
        assert "not the one that the student was trained with" in note


def test_an_index_and_its_shards_agree(model: Path) -> None:
    index = model / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"model.embed_tokens.weight": "model.safetensors"}}))
    assert look_at_folder(model).notes == ()
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": "model.safetensors"}}))
    with pytest.raises(Fault, match="which does not hold it"):
        look_at_folder(model)


def test_an_adapter_beside_the_model_is_looked_at_too(model: Path) -> None:
    (model / "adapter").mkdir()
    (model / "adapter" / "adapter_model.safetensors").write_bytes(b"\xff" * 16)
    with pytest.raises(Fault, match="claims a header") as caught:
        look_at_folder(model)
    assert caught.value.name == "adapter/adapter_model.safetensors"


def test_the_parts_of_a_split_model_are_looked_at_with_the_first(tmp_path: Path) -> None:
    (tmp_path / "m-00001-of-00002.gguf").write_bytes(gguf({**MODEL, "split.count": Typed(2, 2)}, TENSORS, 160))
    with pytest.raises(Fault, match="cannot be read") as caught:
        look_at_file(tmp_path / "m-00001-of-00002.gguf")
    assert caught.value.name == "m-00002-of-00002.gguf"
    (tmp_path / "m-00002-of-00002.gguf").write_bytes(gguf({"a": 1}))
    assert look_at_file(tmp_path / "m-00001-of-00002.gguf").templates == (TEMPLATE,)
