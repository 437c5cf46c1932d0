from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from pillm_llamacpp.writing import sources
from pillm_llamacpp.writing.sources import laid_out, parents
from pillm_llamacpp_students import write_adapter
from pillm_llamacpp_tiny import write_model

import pillm


def test_a_whole_model_is_taken_as_it_is(checkpoint: pillm.Checkpoint) -> None:
    with laid_out(checkpoint, None) as laid:
        assert (laid.checkpoint, laid.adapter) == (checkpoint, None)
        assert laid.told(str(checkpoint.path)) == str(checkpoint.path)
    assert parents(checkpoint, None) == {}
    with pytest.raises(pillm.ConfigError, match="is a whole model, so it has no `base`"), laid_out(checkpoint, "nano-base"):
        pass


def test_an_adapter_is_laid_out_with_its_base(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "mine", checkpoint.path)
    with laid_out(adapter, None) as laid:
        whole = laid.checkpoint
        assert whole.label == "mine"
        assert laid.adapter == adapter.path
        for name in ("config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"):
            assert (whole.path / name).resolve() == (checkpoint.path / name).resolve()
        assert whole.config["architectures"] == ["LlamaForCausalLM"]
        assert not (whole.path / "probes.jsonl").exists()  # the base's probes were not trained on by this adapter
    assert not whole.path.exists()


def test_beside_its_student_an_adapter_has_the_students_tokenizer_and_probes(
    checkpoint: pillm.Checkpoint, tmp_path: Path
) -> None:
    student = write_model(tmp_path / "student")
    adapter = write_adapter(student.path / "adapter", checkpoint.path)
    with laid_out(adapter, None) as laid:
        for name in ("config.json", "tokenizer.json", "probes.jsonl", "contract.json"):
            assert (laid.checkpoint.path / name).resolve() == student.path / name
        assert (laid.checkpoint.path / "model.safetensors").resolve() == checkpoint.path / "model.safetensors"


def test_a_tokenizer_in_the_adapters_own_folder_goes_first(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "mine", checkpoint.path)
    (adapter.path / "tokenizer.json").write_bytes((checkpoint.path / "tokenizer.json").read_bytes())
    with laid_out(adapter, None) as laid:
        assert (laid.checkpoint.path / "tokenizer.json").resolve() == adapter.path / "tokenizer.json"
        assert (laid.checkpoint.path / "chat_template.jinja").resolve() == checkpoint.path / "chat_template.jinja"


@pytest.mark.parametrize("named", [None, "elsewhere-base"])
def test_a_base_that_is_not_here_is_named_with_the_remedy(named: str | None, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "mine", "no-such-base")
    with pytest.raises(pillm.DataError, match=rf"{named or 'no-such-base'}.*-o base=FOLDER"), laid_out(adapter, named):
        pass


def test_a_base_of_a_hub_is_fetched_at_the_revision_that_was_trained_on(
    checkpoint: pillm.Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = write_adapter(tmp_path / "mine", "owner/model")
    settings = json.loads((adapter.path / "adapter_config.json").read_text())
    (adapter.path / "adapter_config.json").write_text(json.dumps({**settings, "revision": "f" * 40}))
    asked: list[tuple[str, str | None]] = []
    monkeypatch.setattr(pillm, "fetch_model", lambda *told: asked.append(told) or checkpoint)
    with laid_out(adapter, None) as laid:
        assert (laid.checkpoint.path / "model.safetensors").resolve().parent == checkpoint.path.resolve()
    assert asked == [("owner/model", "f" * 40)]

    def unreachable(*_: object) -> None:
        raise pillm.Unavailable("the hub is out of reach.")

    monkeypatch.setattr(pillm, "fetch_model", unreachable)
    with pytest.raises(pillm.Unavailable, match=r"out of reach.* -o base=FOLDER"), laid_out(adapter, None):
        pass


def test_a_base_with_other_weights_than_were_trained_on_is_refused(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "mine", checkpoint.path)
    sha = pillm.sha256_file(checkpoint.path / "model.safetensors")
    right = hashlib.sha256(json.dumps({"model.safetensors": sha}).encode()).hexdigest()
    assert parents(adapter, None) == {"base": right}
    said = adapter.path / "base.json"
    said.write_text(json.dumps({"base": "the-base", "weights_sha256": right}))
    with laid_out(adapter, None):
        pass
    said.write_text(json.dumps({"base": "the-base", "weights_sha256": "0" * 64}))
    with pytest.raises(pillm.DataError, match=r"was trained on the-base, and .* has other weights"), laid_out(adapter, None):
        pass
    said.write_text("{}")
    with pytest.raises(pillm.DataError, match=r"base\.json cannot be read"), laid_out(adapter, None):
        pass


def test_the_hash_of_a_base_is_the_one_that_the_trainers_write(checkpoint: pillm.Checkpoint) -> None:
    hub = pytest.importorskip("pillm_hf.models.hub")
    assert sources._weights_hash(checkpoint.path) == hub.weights_hash(checkpoint.path)


def test_an_error_names_the_files_that_a_person_knows(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "mine", checkpoint.path)
    with pytest.raises(pillm.DataError) as caught, laid_out(adapter, None) as laid:
        place = laid.checkpoint.path
        raise pillm.DataError(f"{place}/tokenizer.json is odd, and {place} too: {place}/model.safetensors.index.json")
    base = checkpoint.path.resolve()
    assert str(caught.value) == f"{base}/tokenizer.json is odd, and {adapter.path} too: {base}/model.safetensors.index.json"


def test_a_folder_is_looked_at_before_anything_of_it_is_read(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "mine", checkpoint.path)
    deep = "[" * 100_000 + "]" * 100_000
    (adapter.path / "adapter_config.json").write_text(deep)
    for read in (lambda: parents(adapter, None), lambda: laid_out(adapter, None).__enter__()):
        with pytest.raises(pillm.UnsafeError, match=r"mine/adapter_config\.json: it is nested deeper"):
            read()
    base = write_model(tmp_path / "base")
    (base.path / "generation_config.json").write_text(deep)
    adapter = write_adapter(tmp_path / "other", base.path)
    with pytest.raises(pillm.UnsafeError, match=r"base/generation_config\.json: it is nested deeper"), laid_out(adapter, None):
        pass


def test_an_adapter_of_another_base_is_refused_with_both_shapes(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "mine", write_model(tmp_path / "narrow", hidden=96, layers=1).path)
    told = r"mine does not fit its base: it changes .*q_proj.weight, 256 x 256, .* 96 x 96"
    with pytest.raises(pillm.DataError, match=told), laid_out(adapter, None):
        pass


def test_an_adapter_that_is_not_merged_here_is_refused_before_its_base_is_looked_for(tmp_path: Path) -> None:
    adapter = write_adapter(tmp_path / "mine", "owner/model", modules_to_save=["lm_head"])
    with pytest.raises(pillm.DataError, match="whole modules beside it"), laid_out(adapter, None):
        pass


def test_without_peft_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "find_spec", lambda name: None)
    adapter = write_adapter(tmp_path / "mine", "owner/model")
    with pytest.raises(pillm.MissingDependency, match="pip install peft"), laid_out(adapter, None):
        pass
