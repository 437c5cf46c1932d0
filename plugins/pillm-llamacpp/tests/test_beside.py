from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader
from pillm_llamacpp.exporter import GGUFExporter
from pillm_llamacpp.grammars.shipped import GRAMMAR, SCHEMA
from pillm_llamacpp.packing.beside import write_for_use

import pillm

LINEAGE: dict[str, Any] = {
    "lineage_version": 1, "train": "v1:0a", "seed": 7, "contract": "c",
    "data": {"hash": "d4", "rows": {"train": 4}, "sources": {"rows": {"CC0-1.0": 4}}, "languages": {"fr-CA": 4}},
    "teacher": {"use": "hf", "name": "big", "revision": None, "content": "sha256:b1", "license": "mit", "link": None},
    "base": {"name": "owner/Tiny-0.4M", "revision": "c0ffee", "license": "apache-2.0", "link": "LICENSE", "content": None},
    "schemas": 1, "schema": {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]},
    "versions": {"pillm": "0.1.0"},
}  # fmt: skip


@pytest.fixture(scope="module")
def made(checkpoint: pillm.Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[pillm.ModelFile]]:
    """Return an export of a checkpoint that knows what it was made from, and its files."""
    folder = Path(shutil.copytree(checkpoint.path, tmp_path_factory.mktemp("told") / "train"))
    (folder / "lineage.json").write_text(json.dumps(LINEAGE))
    told = pillm.Checkpoint(path=folder, name="my task", told={"recipe": "r3", "accepted": []})
    out = tmp_path_factory.mktemp("run") / "export"
    return out, pillm.export(told, GGUFExporter(quants=["F16", "Q8_0"], title="My model", release="v2.1"), out)


def metadata(path: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in GGUFReader(path).fields.items()}


def test_names_and_metadata_tell_what_a_file_was_made_from(made: tuple[Path, list[pillm.ModelFile]]) -> None:
    _, models = made
    for model in models:
        said = metadata(model.path)
        assert re.fullmatch(rf"Tiny-[0-9.]+[KM]-my-task-v2\.1-{model.quant}\.gguf", model.path.name)
        assert (said["general.name"], said["general.version"], said["general.basename"]) == ("My model", "v2.1", "Tiny")
        assert said["general.license"] == "apache-2.0"
        assert said["general.license.link"] == "LICENSE"
        assert said["general.finetune"] == "my-task"
        assert (said["general.base_model.count"], said["general.base_model.0.organization"]) == (1, "owner")
        assert said["general.base_model.0.version"] == "c0ffee"
        assert said["general.dataset.0.name"] == "rows"
        assert said["general.languages"] == ["fr-CA"]
        assert said["general.tags"] == ["distillation", "pillm"]
        told = {name.removeprefix("pillm."): value for name, value in said.items() if name.startswith("pillm.")}
        assert (told["recipe"], told["data"], told["train"], told["seed"]) == ("r3", "d4", "v1:0a", "7")
        assert (told["teacher"], told["teacher.revision"], told["base.revision"]) == ("big", "sha256:b1", "c0ffee")
        assert (told["license.teacher"], told["license.data"]) == ("mit", "CC0-1.0")
        assert told["asked"] == "as it is"
        assert told["terms"].startswith("May be published under apache-2.0.")


def test_everything_stands_beside_the_files_and_is_vouched_for(made: tuple[Path, list[pillm.ModelFile]]) -> None:
    out, models = made
    names = {model.path.name for model in models}
    assert {path.name for path in out.iterdir()} - names == {
        "Modelfile", "README.md", "SHA256SUMS", "card.json", "contract.json", "manifest.json", GRAMMAR, SCHEMA,
        "tokenizer.json", "tokenizer_config.json", "chat_template.jinja",
    }  # fmt: skip
    assert pillm.verify(out) == []
    card = json.loads((out / "card.json").read_text())
    assert card["publishable"] is True
    assert [one["sha256"] for one in card["files"]] == [model.sha256 for model in models]
    modelfile = (out / "Modelfile").read_text()
    assert "# It takes this file: the least rounded of the quantised files; " in modelfile
    assert f"FROM ./{models[1].path.name}\n" in modelfile
    assert 'TEMPLATE """{{ if .System }}' in modelfile
    assert 'PARAMETER stop "<|im_end|>"' in modelfile
    assert "ollama create" in (out / "README.md").read_text()


def test_a_file_is_traced_to_its_checkpoint(made: tuple[Path, list[pillm.ModelFile]]) -> None:
    _, models = made
    found = pillm.trace(models[1].path)
    assert all(one.agrees for one in found), [str(one) for one in found if not one.agrees]
    assert {one.what for one in found} >= {
        "sha256", "pillm.recipe", "pillm.contract", "pillm.template", "pillm.tokenizer", "pillm.terms", "pillm.license.teacher",
        "pillm.versions", "pillm.version", "general.license", "general.languages", "general.tags", "general.base_model.count",
    }  # fmt: skip


def test_the_modelfile_takes_the_file_that_the_exporter_chose(
    made: tuple[Path, list[pillm.ModelFile]], checkpoint: pillm.Checkpoint, tmp_path: Path
) -> None:
    _, models = made
    for model in models:
        (tmp_path / model.path.name).symlink_to(model.path)
    (tmp_path / "choice.json").write_text(json.dumps({"picked": "F16"}))
    write_for_use(tmp_path, checkpoint, pillm.card_of(checkpoint), models, pillm.Progress())
    text = (tmp_path / "Modelfile").read_text()
    assert f"# It takes this file: the exporter chose it; choice.json says by what.\nFROM ./{models[0].path.name}\n" in text


def test_a_release_is_a_version() -> None:
    with pytest.raises(pillm.ConfigError, match="release"):
        pillm.exporter("gguf", release="latest")
