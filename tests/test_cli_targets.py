"""What a person names on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

import pillm
from pillm.cli.targets import contract_for, model_of, runner_for, subject_of


@pytest.mark.parametrize(
    ("name", "quant"),
    [
        ("student-Q4_K_M.gguf", "Q4_K_M"),
        ("a.b-iq4_nl.gguf", "IQ4_NL"),
        ("x-BF16.gguf", "BF16"),
        ("x-F16.gguf", "F16"),
        ("Qwen3-0.6B-Q8_0.gguf", "Q8_0"),
        ("plain.gguf", ""),
    ],
)
def test_a_file_is_known_by_its_quantisation(tmp_path: Path, name: str, quant: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"GGUF")
    found = model_of(str(path))
    assert isinstance(found, pillm.ModelFile)
    assert found.quant == quant


def test_a_folder_is_a_checkpoint_and_anything_else_is_refused(fakes: Path, tmp_path: Path) -> None:
    assert isinstance(model_of(str(tmp_path)), pillm.Checkpoint)
    with pytest.raises(pillm.DataError, match="neither"):
        model_of("nosuch")


@pytest.mark.parametrize(
    "text",
    ["echo", "echo:truth=true", "echo:window=3,truth=yes", "pillm-fakes:echo:window=3", 'echo:script={"a": "b, c=d"},window=2'],
)
def test_a_teacher_is_named_with_its_options(fakes: Path, text: str) -> None:
    assert isinstance(subject_of(text), pillm.Teacher)


def test_values_of_a_teacher_may_hold_colons_and_commas(fakes: Path) -> None:
    found = subject_of('echo:script={"a": "http://b:1/c"},window=2')
    assert found.options()["script"] == {"a": "http://b:1/c"}  # type: ignore[union-attr]


def test_the_runner_that_reads_a_model_is_found(fakes: Path, tmp_path: Path) -> None:
    (tmp_path / "x.table").write_text("{}", "utf-8")
    (tmp_path / "x.gguf").write_text("{}", "utf-8")
    assert runner_for(model_of(str(tmp_path / "x.table")), None, {}).name == "table"
    assert runner_for(model_of(str(tmp_path)), "table", {}).name == "table"
    with pytest.raises(pillm.MissingDependency):
        runner_for(model_of(str(tmp_path / "x.gguf")), None, {})
    with pytest.raises(pillm.ConfigError, match="reads"):
        runner_for(model_of(str(tmp_path / "x.gguf")), "table", {})


def test_a_model_is_asked_as_it_was_trained_unless_told_otherwise(tmp_path: Path) -> None:
    trained = pillm.Contract(schema_in_prompt="text", system="Be brief.")
    (tmp_path / "train").mkdir()
    (tmp_path / "export").mkdir()
    trained.save(tmp_path / "train" / "contract.json")
    (tmp_path / "export" / "x.gguf").write_bytes(b"GGUF")
    file = model_of(str(tmp_path / "export" / "x.gguf"))
    assert contract_for(file, None).system == "Be brief."
    assert contract_for(pillm.Checkpoint(path=tmp_path / "train"), None).schema_in_prompt == "text"
    assert contract_for(file, "none").system is None
    assert contract_for(object(), None) == pillm.Contract()
