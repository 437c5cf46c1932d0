"""What of the metadata is not seen where the writer is held against the converter."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pillm_llamacpp import source
from pillm_llamacpp.writing.writer import Uncovered
from pillm_llamacpp_students import contents, write_student, written


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_student(tmp_path_factory.mktemp("student") / "qwen3", "qwen3")


def keys_of(folder: Path, out: Path, **more: Any) -> dict[str, Any]:
    return {name: value for name, (_, value) in contents(written(folder, out, **more)["F16"])[0].items()}


def test_the_card_of_a_model_is_read(student: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(student, tmp_path / "copy"))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\nlanguage: [fr, en]\nbase_model: owner/Base-1B\n---\n# A\n")
    keys = keys_of(folder, tmp_path / "out")
    assert keys["general.license"] == "apache-2.0"
    assert keys["general.languages"] == ["fr", "en"]
    assert keys["general.base_model.0.repo_url"] == "https://huggingface.co/owner/Base-1B"
    assert keys["general.sampling.temp"] == pytest.approx(0.7)


@pytest.mark.parametrize("file", ["modules.json", "README.md"])
def test_an_encoder_and_a_reranker_are_left_to_the_converter(file: str, student: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(student, tmp_path / "copy"))
    (folder / file).write_text("[]" if file == "modules.json" else "# Qwen3-Reranker-0.6B\n")
    with pytest.raises(Uncovered) as caught:
        written(folder, tmp_path / "out")
    assert caught.value.what == "vocabulary"


@pytest.mark.parametrize("name", ["hidden_size", "intermediate_size", "max_position_embeddings"])
def test_a_configuration_that_leaves_something_out_is_left_to_the_converter(name: str, student: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(student, tmp_path / "copy"))
    config = json.loads((folder / "config.json").read_text())
    del config[name]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(Uncovered, match=name):
        written(folder, tmp_path / "out")


def test_every_file_of_a_pass_tells_its_own_type(student: Path, tmp_path: Path) -> None:
    files = written(student, tmp_path, ("F16", "F32", "BF16", "Q8_0"))
    told = {kind: contents(path)[0]["general.file_type"][1] for kind, path in files.items()}
    assert told == {"F16": 1, "F32": 0, "BF16": 32, "Q8_0": 7}


def test_the_pinned_gguf_is_used_or_none() -> None:
    code = (
        "import gguf, sys; from pillm_llamacpp.writing.keys import pinned\n"
        "from pillm_llamacpp.workers.refusal import Refusal\n"
        f"try: pinned({str(source.require())!r})\nexcept Refusal as refusal: print(refusal)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "another gguf was loaded" in done.stdout
