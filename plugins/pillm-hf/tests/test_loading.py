"""Loading: foreign folders fail with a sentence, and their code never runs."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from pillm_hf.models.loading import load_config, load_model, settled_dtype
from pillm_hf.models.quantizing import import_bitsandbytes, quantization
from pillm_hf.rows.opening import load_chat

import pillm
from pillm.testing.hostile import write_hostile
from pillm.testing.hostiletemplates import PATIENT


def test_broken_weights_are_refused(base: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(base, tmp_path / "broken")
    (copy / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(pillm.PillmError, match="broken"):
        load_model(copy, torch.float32)


def test_a_pickle_is_never_read(base: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(base, tmp_path / "pickled")
    torch.save({}, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(pillm.DataError, match="safetensors"):
        load_model(copy, torch.float32)


def test_a_model_that_wants_its_own_code_is_refused(base: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(base, tmp_path / "own-code")
    config = json.loads((base / "config.json").read_text("utf-8"))
    config |= {"model_type": "own", "auto_map": {"AutoModelForCausalLM": "evil.Model"}}
    (copy / "config.json").write_text(json.dumps(config), "utf-8")
    (copy / "evil.py").write_text("raise SystemExit('code from a model folder ran')", "utf-8")
    with pytest.raises(pillm.UnsafeError, match="own Python code"):
        load_model(copy, torch.float32)


def test_a_model_that_names_code_it_does_not_need_is_loaded_and_the_code_is_not_run(base: Path, tmp_path: Path) -> None:
    """Phi-4-mini names such code although transformers has its architecture."""
    from transformers import Phi3Config, Phi3ForCausalLM

    folder = Path(shutil.copytree(base, tmp_path / "phi"))
    size = json.loads((base / "config.json").read_text("utf-8"))["vocab_size"]
    shape = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
    Phi3ForCausalLM(Phi3Config(vocab_size=size, **shape)).save_pretrained(folder)
    own = {"AutoConfig": "evil.Own", "AutoModelForCausalLM": "evil.Own", "AutoTokenizer": "Xenova/gpt-4o"}
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": own}), "utf-8")
    (folder / "evil.py").write_text("raise SystemExit('code from a model folder ran')", "utf-8")
    assert type(load_model(folder, torch.float32)) is Phi3ForCausalLM
    assert load_chat(folder).prompt([{"role": "user", "content": "?"}])
    config["auto_map"] = {**own, "AutoModel": "acme/other--evil.Own"}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(pillm.UnsafeError, match="own Python code"):
        load_model(folder, torch.float32)


def test_every_model_type_that_code_is_left_out_of_is_one_of_transformers() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    from pillm.intake.owncode import NATIVE

    assert set(CONFIG_MAPPING_NAMES) >= NATIVE


def test_bitsandbytes_cannot_fetch_compiled_code(tmp_path: Path) -> None:
    """With the package `kernels` installed, importing bitsandbytes on some processors downloads a binary."""
    import subprocess
    import sys

    fake = "__version__ = '0.0.1'\ndef get_kernel(*_, **__):\n    raise SystemExit('a kernel was fetched')\n"
    (tmp_path / "kernels.py").write_text(fake, "utf-8")
    code = "from pillm_hf.models.quantizing import import_bitsandbytes as load; load(); print('fine')"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout == "fine\n", done.stderr
    assert "kernels" not in done.stderr


def test_a_missing_bitsandbytes_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pillm_hf.models.quantizing.find_spec", lambda name: None)
    with pytest.raises(pillm.MissingDependency, match="pip install"):
        quantization("4bit", torch.float32)
    assert quantization("none", torch.float32) is None


def test_importing_the_plugin_loads_nothing_heavy() -> None:
    import subprocess
    import sys

    code = "import sys, pillm_hf; print(sorted({'torch', 'transformers', 'peft', 'huggingface_hub'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


def test_bitsandbytes_is_here_for_the_tests() -> None:
    assert import_bitsandbytes()


@pytest.mark.parametrize("lost", ["model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight"])
def test_absent_weights_are_refused_and_not_made_up(base: Path, tmp_path: Path, lost: str) -> None:
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(base, tmp_path / "holed")
    weights = load_file(copy / "model.safetensors")
    del weights[lost]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(pillm.DataError, match=f"missing.*{lost}"):
        load_model(copy, torch.float32)


def test_weights_of_another_shape_are_refused(base: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(base, tmp_path / "reshaped")
    config = json.loads((copy / "config.json").read_text("utf-8")) | {"intermediate_size": 96}
    (copy / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(pillm.PillmError, match="reshaped"):
        load_model(copy, torch.float32)


@pytest.mark.parametrize("load_in", ["4bit", "8bit"])
def test_a_tied_or_an_own_output_layer_loads_whole(make, tmp_path: Path, base: Path, load_in: str) -> None:
    load_model(base, torch.float32, quantization=quantization(load_in, torch.float32))
    untied = shutil.copytree(base, tmp_path / "untied")
    from safetensors.torch import load_file, save_file

    weights = load_file(untied / "model.safetensors")
    save_file(
        weights | {"lm_head.weight": weights["model.embed_tokens.weight"].clone()},
        untied / "model.safetensors", metadata={"format": "pt"},
    )  # fmt: skip
    config = json.loads((untied / "config.json").read_text("utf-8")) | {"tie_word_embeddings": False}
    (untied / "config.json").write_text(json.dumps(config), "utf-8")
    assert load_model(untied, torch.float32).num_parameters() > load_model(base, torch.float32).num_parameters()


def test_a_gpu_that_is_not_there_is_refused_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in ("cuda", "cuda:1"):
        with pytest.raises(pillm.ConfigError, match=f"device_map={device}: .*device_map=cpu"):
            settled_dtype("auto", device)
    assert settled_dtype("float32", "cpu") == torch.float32


def test_no_library_opens_what_was_made_to_do_harm(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = write_hostile(tmp_path)
    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", pytest.fail)
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", pytest.fail)
    for name, path in hostile.items():
        if name.startswith("folder: "):
            for load in (load_chat, load_config):
                with pytest.raises((pillm.UnsafeError, pillm.DataError)):
                    load(path)
    with pytest.raises(pillm.UnsafeError, match="8 bytes, and its shape and type make 12"):
        copy = shutil.copytree(base, tmp_path / "weights")
        shutil.copyfile(hostile["safetensors: a shape of other bytes"], copy / "model.safetensors")
        load_model(copy, torch.float32)


def test_a_template_that_is_not_the_one_of_the_training_is_flagged_once(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = shutil.copytree(base, tmp_path / "altered")
    pillm.Contract().with_student(template=load_chat(base).template, special_tokens={}, stop_tokens=()).save(
        copy / "contract.json"
    )
    load_chat(copy)
    assert not caplog.records
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text("utf-8") + "{{ 'and mention the brand' }}", "utf-8")
    for _ in range(2):
        load_chat(copy)
    assert [record.getMessage().count("not the one that the student was trained with") for record in caplog.records] == [1]


def test_a_template_that_waits_for_its_word_is_stopped_there(make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chat = load_chat(make(tmp_path / "patient", template=PATIENT))
    monkeypatch.setattr(pillm, "limited_rendering", partial(pillm.limited_rendering, 0.2))
    assert chat.prompt([{"role": "user", "content": "bonjour"}]) == "user: bonjour\n"
    with pytest.raises(pillm.DataError, match="takes too long over these messages"):
        chat.prompt([{"role": "user", "content": "abracadabra"}])
