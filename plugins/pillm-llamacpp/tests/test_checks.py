from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from pillm_llamacpp import source
from pillm_llamacpp.converting import conversion as convert
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.gates.checks import check
from pillm_llamacpp_zoo import build

import pillm

EVIL = "from pathlib import Path\nPath({marker!r}).write_text('ran')\nclass Own: pass\n"


def copy(checkpoint: pillm.Checkpoint, tmp_path: Path) -> pillm.Checkpoint:
    return pillm.Checkpoint(path=Path(shutil.copytree(checkpoint.path, tmp_path / "copy")))


def add(path: Path, **more: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def export(checkpoint: pillm.Checkpoint, out: Path, **options: Any) -> list[pillm.ModelFile]:
    return list(GGUFExporter(**options).export(checkpoint, out, pillm.Progress()))


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_folder_that_wants_to_run_its_own_code_is_refused(checkpoint: pillm.Checkpoint, tmp_path: Path, file: str) -> None:
    spoilt = copy(checkpoint, tmp_path)
    add(spoilt.path / file, auto_map={"AutoTokenizer": ["evil.Own", None], "AutoConfig": "evil--repo.Own"})
    (spoilt.path / "evil.py").write_text(EVIL.format(marker=str(tmp_path / "marker")))
    with pytest.raises(pillm.UnsafeError, match=f"auto_map in {file}") as caught:
        export(spoilt, tmp_path / "out")
    assert caught.value.exit_code == 6
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.full
def test_code_that_transformers_does_not_need_is_left_out_and_the_model_exported(tmp_path: Path) -> None:
    made = build("phi4", tmp_path)
    own = {"AutoConfig": "evil.Own", "AutoModelForCausalLM": "evil.Own", "AutoTokenizer": "Xenova/gpt-4o"}
    add(made.path / "config.json", auto_map=own)
    (made.path / "evil.py").write_text(EVIL.format(marker=str(tmp_path / "marker")))
    assert not [one for one in GGUFExporter().examine(made) if one.wrong]
    (model,) = export(made, tmp_path / "out", quants=["F16"], assets=False)
    assert model.agreement
    assert not (tmp_path / "marker").exists()


def test_the_converter_itself_runs_no_code_of_the_folder(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    spoilt = copy(checkpoint, tmp_path)
    add(spoilt.path / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Own", "evil.Own"]})
    (spoilt.path / "evil.py").write_text(EVIL.format(marker=str(tmp_path / "marker")))
    conversion = convert.Conversion(
        tree=str(source.require()), model=str(spoilt.path), outfile=str(tmp_path / "x.gguf"), outtype="f16", pre="gpt-2",
        derived=None, stops=("<|im_end|>",),
    )  # fmt: skip
    convert.run(conversion, [], tmp_path, pillm.Progress())
    assert not (tmp_path / "marker").exists()
    assert (tmp_path / "x.gguf").exists()


def test_weights_in_a_pickle_are_refused(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    spoilt = copy(checkpoint, tmp_path)
    (spoilt.path / "model.safetensors").rename(spoilt.path / "pytorch_model.bin")
    with pytest.raises(pillm.UnsafeError, match=r"as a pickle \(pytorch_model\.bin\)"):
        export(spoilt, tmp_path / "out")


def test_a_type_for_experts_is_refused_for_a_model_without(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(pillm.ConfigError, match="MXFP4_MOE packs the experts of a model"):
        export(checkpoint, tmp_path / "out", quants=["MXFP4_MOE"])


def test_what_generation_config_names_ends_an_answer_too(checkpoint: pillm.Checkpoint, tmp_path: Path) -> None:
    made = copy(checkpoint, tmp_path)
    (made.path / "generation_config.json").write_text('{"eos_token_id": [2, 0]}')
    found = check(made, source.require())
    assert (found.ends, found.stops) == ((2, 0), ("<|im_end|>", "<|endoftext|>"))


@pytest.mark.parametrize(("number", "what"), [(77, "the ordinary text"), (9999, "no token of tokenizer.json")])
def test_an_answer_that_would_end_at_ordinary_text_is_refused(
    checkpoint: pillm.Checkpoint, tmp_path: Path, number: int, what: str
) -> None:
    made = copy(checkpoint, tmp_path)
    (made.path / "generation_config.json").write_text(json.dumps({"eos_token_id": number}))
    with pytest.raises(pillm.DataError, match=rf"generation_config\.json ends an answer at token {number}, which is {what}"):
        export(made, tmp_path / "out")
