"""What a person names on the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import pillm
from pillm.cli.targets import contract_for, contracts_for, files_in, model_of, runner_for, subject_of


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


def test_a_folder_of_model_files_is_no_model_and_its_files_are_named(fakes: Path, tmp_path: Path) -> None:
    assert files_in(tmp_path / "nowhere") == files_in(tmp_path) == []
    files = [tmp_path / "export" / name for name in ("a.gguf", "b.gguf")]
    files[0].parent.mkdir()
    for one in files:
        one.write_bytes(b"GGUF")
    assert files_in(tmp_path) == files_in(tmp_path / "export") == files
    for folder in (tmp_path, tmp_path / "export"):
        with pytest.raises(pillm.DataError, match=r"is a folder of model files, not one model\. Name .*a\.gguf, .*b\.gguf\."):
            model_of(str(folder))
    (tmp_path / "config.json").write_text("{}")
    assert isinstance(model_of(str(tmp_path)), pillm.Checkpoint), "a model folder may hold other files too"


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
    (tmp_path / "config.json").write_text("{}", "utf-8")
    (tmp_path / "x.table").write_text("{}", "utf-8")
    (tmp_path / "x.gguf").write_text("{}", "utf-8")
    assert runner_for(model_of(str(tmp_path / "x.table")), None, {}).name == "table"
    assert runner_for(model_of(str(tmp_path)), "table", {}).name == "table"
    with pytest.raises(pillm.MissingDependency):
        runner_for(model_of(str(tmp_path / "x.gguf")), None, {})
    with pytest.raises(pillm.ConfigError, match="reads"):
        runner_for(model_of(str(tmp_path / "x.gguf")), "table", {})


TRAINED = pillm.Contract(schema_in_prompt="text", system="Be brief.")


@pytest.fixture
def trained(tmp_path: Path) -> pillm.Checkpoint:
    """Give a checkpoint that was trained under a contract, with the file `x.gguf` exported from it."""
    for name in ("train", "export"):
        (tmp_path / name).mkdir()
    TRAINED.with_student(template="t", special_tokens={}, stop_tokens=()).save(tmp_path / "train" / "contract.json")
    (tmp_path / "export" / "x.gguf").write_bytes(b"GGUF")
    return pillm.Checkpoint(path=tmp_path / "train")


def test_a_model_is_asked_as_it_was_trained(trained: pillm.Checkpoint, tmp_path: Path) -> None:
    assert contract_for(trained, {}) == contract_for(model_of(str(tmp_path / "export" / "x.gguf")), {}) == TRAINED
    assert contract_for(object(), {}) == pillm.Contract()


@pytest.mark.parametrize("chosen", [{"schema_in_prompt": "text"}, {"schema_in_prompt": "none"}, {"system": "Say so."}])
def test_an_override_changes_itself_and_nothing_else(trained: pillm.Checkpoint, chosen: dict[str, str]) -> None:
    asked = {"schema_in_prompt": None, "system": None, **chosen}  # as the command line gives them
    assert contract_for(trained, asked) == replace(TRAINED, **chosen)  # type: ignore[arg-type]


def test_subjects_that_record_one_contract_are_all_asked_under_it(
    fakes: Path, trained: pillm.Checkpoint, tmp_path: Path
) -> None:
    subjects = {"echo": subject_of("echo"), "a": trained, "b": model_of(str(tmp_path / "export" / "x.gguf"))}
    assert contracts_for(subjects, {}) == dict.fromkeys(subjects, TRAINED)
    assert contracts_for({"echo": subjects["echo"]}, {"system": "S"}) == {"echo": pillm.Contract(system="S")}


def test_subjects_that_record_different_contracts_are_asked_each_under_its_own(
    fakes: Path, trained: pillm.Checkpoint, tmp_path: Path
) -> None:
    pillm.Contract(system="Be long.").save(tmp_path / "export" / "contract.json")
    subjects = {"echo": subject_of("echo"), "a": trained, "b": model_of(str(tmp_path / "export" / "x.gguf"))}
    own = {"echo": pillm.Contract(), "a": TRAINED, "b": pillm.Contract(system="Be long.")}
    assert contracts_for(subjects, {}) == own
    alike = contracts_for(subjects, {"schema_in_prompt": "none", "system": "S"})
    assert alike == dict.fromkeys(subjects, pillm.Contract(system="S"))


@pytest.mark.parametrize("content", ['{"a":', "[1]", '{"schema_in_prompt": "telepathy"}', '{"stop_tokens": 3}', "\udcff"])
def test_a_damaged_contract_is_named_with_the_remedy(trained: pillm.Checkpoint, content: str) -> None:
    (trained.path / "contract.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(pillm.DataError, match=r"train.contract\.json is damaged .*[Tt]rain again"):
        contract_for(trained, {})
