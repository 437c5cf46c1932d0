"""A model file is held against the run that made it: every word of its lineage, and every byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from pillm.artifacts import Checkpoint, ModelFile
from pillm.backends import Exporter
from pillm.cards.card import Told, card_of, read_card
from pillm.cards.metadata import metadata_of
from pillm.devices.ggufheader import read_header
from pillm.errors import DataError
from pillm.progress import Progress
from pillm.records import Prompt, digest
from pillm.stages.exporting import export
from pillm.stages.labelling import label
from pillm.stages.training import Training, train
from pillm.store import Lineage, read_manifest, write_manifest
from pillm.testing import EchoTeacher
from pillm.testing.fakes import TableTrainer
from pillm.testing.ggufs import gguf
from pillm.tracing import Traced, trace
from pillm.verification import verify


class HeaderExporter(Exporter):
    """Writes a GGUF file with its card's keys and a few bytes of data."""

    name: ClassVar[str] = "header"

    def export(self, checkpoint: Checkpoint, out: Path, progress: Progress) -> Iterator[ModelFile]:
        path = out / "student-F16.gguf"
        keys = metadata_of(card_of(checkpoint))
        path.write_bytes(gguf({"general.architecture": "llama", **keys}, [("t", (32,), 0, 0)], 128))
        yield ModelFile.of(path, "F16")


def made(folder: Path, changed: int | None = None, recipe: str = "R") -> Path:
    """Run the verbs on six rows, one of them changed, and return the file."""
    rows = [
        Prompt(
            id=f"r{n}",
            messages=({"role": "user", "content": f"say {n}{'!' if n == changed else ''}"},),
            source="d",
            license="MIT",
            language="fr",
        )
        for n in range(6)
    ]
    labelled = label(rows, EchoTeacher(), folder / "label")
    checkpoint = train(labelled, TableTrainer(), folder / "train", settings=Training(seed=3, teacher=EchoTeacher()))
    told = Told(recipe=recipe, license="mit", terms={"teacher": "isc"}).to_json()
    (model,) = export(Checkpoint(path=checkpoint.path, name="x", told=told), HeaderExporter(), folder / "export")
    return model.path


def wrong(found: list[Traced]) -> list[tuple[str, str]]:
    return [(one.what, one.where.name) for one in found if not one.agrees]


def test_a_file_agrees_with_its_run_where_it_lies_and_elsewhere(tmp_path: Path) -> None:
    file = made(tmp_path / "run")
    found = trace(file)
    assert wrong(found) == []
    assert {one.where.name for one in found} == {
        "manifest.json",
        "card.json",
        "contract.json",
        "lineage.json",
        "labelled.jsonl",
    }
    assert {one.what for one in found} >= {
        "sha256", "pillm.recipe", "pillm.data", "pillm.train", "pillm.seed", "pillm.teacher", "pillm.contract", "pillm.terms",
        "pillm.versions", "pillm.license.data", "pillm.license.teacher", "general.languages", "general.license",
    }  # fmt: skip
    renamed = Path(shutil.copyfile(file, tmp_path / "mine.gguf"))
    assert wrong(trace(renamed, tmp_path / "run")) == []
    assert wrong(trace(renamed, tmp_path / "run" / "export")) == []


def test_one_changed_row_changes_every_id_downstream(tmp_path: Path) -> None:
    one, other = made(tmp_path / "a"), made(tmp_path / "b", changed=4)
    for folder in ("label", "train", "export"):
        keys = [(read_manifest(tmp_path / run / folder) or {})["key"] for run in "ab"]
        assert keys[0] != keys[1], folder
    said = [read_header(file).metadata for file in (one, other)]
    differ = {key for key in said[0] if said[0][key] != said[1][key]}
    assert {"pillm.data", "pillm.train"} <= differ
    assert ModelFile.of(one, "").sha256 != ModelFile.of(other, "").sha256
    found = wrong(trace(one, tmp_path / "b"))
    assert ("sha256", "manifest.json") in found
    assert ("pillm.train", "manifest.json") in found
    assert ("pillm.data", "lineage.json") in found
    assert ("pillm.data", "labelled.jsonl") in found


def test_the_same_rows_again_give_the_same_ids(tmp_path: Path) -> None:
    one, other = made(tmp_path / "a"), made(tmp_path / "b")
    assert ModelFile.of(one, "").sha256 == ModelFile.of(other, "").sha256


def test_a_flipped_byte_is_found_wherever_it_is(tmp_path: Path) -> None:
    file = made(tmp_path / "run")
    good = file.read_bytes()
    for place in (len(good) - 1, good.index(b"pillm.data") + len("pillm.data") + 14):
        file.write_bytes(good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :])
        assert ("sha256", "manifest.json") in wrong(trace(file))
    assert ("pillm.data", "lineage.json") in wrong(trace(file)), "the second one lies within the hash of the data"


def test_an_answer_changed_after_the_training_is_found_even_where_manifests_were_mended(tmp_path: Path) -> None:
    file = made(tmp_path / "run")
    labelled = tmp_path / "run" / "label" / "labelled.jsonl"
    labelled.write_text(labelled.read_text().replace('"say 2"', '"say 22"'))
    assert wrong(trace(file)) == [("pillm.data", "labelled.jsonl")]
    labelled.write_text("{")
    assert wrong(trace(file)) == [("pillm.data", "labelled.jsonl")]


def test_a_changed_contract_or_recipe_is_found(tmp_path: Path) -> None:
    file = made(tmp_path / "run")
    contract = tmp_path / "run" / "export" / "contract.json"
    said = json.loads(contract.read_text())
    contract.write_text(json.dumps({**said, "system": "Lie."}))
    assert wrong(trace(file)) == [("pillm.contract", "contract.json")]
    other = made(tmp_path / "other", recipe="another")
    assert ("pillm.recipe", "card.json") in wrong(trace(file, other.parent.parent))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("general.license", "apache-2.0"),
        ("general.languages", ["en", "fr"]),
        ("pillm.terms", "May be published by anybody."),
        ("pillm.license.teacher", "mit"),
        ("pillm.versions", "pillm 9"),
        ("pillm.template", "f" * 64),
        ("pillm.tokenizer", "0" * 64),
        ("pillm.version", "9.9"),
    ],
)
def test_whatever_a_file_says_otherwise_is_found(tmp_path: Path, key: str, value: str | list[str]) -> None:
    file = made(tmp_path / "run")
    contract = json.loads((tmp_path / "run" / "export" / "contract.json").read_text())
    (tmp_path / "run" / "export" / "contract.json").write_text(json.dumps({**contract, "template": "{{ messages }}"}))
    tokenizer = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}
    (tmp_path / "run" / "export" / "tokenizer.json").write_text(json.dumps(tokenizer))
    keys = metadata_of(read_card(tmp_path / "run" / "export" / "card.json"))
    file.write_bytes(gguf({"general.architecture": "llama", **keys, key: value}, [("t", (32,), 0, 0)], 128))
    assert key in [what for what, _ in wrong(trace(file))]


def test_the_recipes_hash_is_computed_anew_from_what_the_run_recorded(tmp_path: Path) -> None:
    run, making = tmp_path / "run", {"seed": 3, "backends": []}
    file = made(run, recipe=digest(making))
    recipe = run / "recipe.yaml"
    recipe.write_text("seed: 3\n")
    write_manifest(run, Lineage(verb="run", key="k", results={"making": making}), [recipe])
    found = trace(file)
    assert wrong(found) == []
    assert {("pillm.recipe", run), ("sha256 of recipe.yaml", run)} <= {(one.what, one.where.parent) for one in found}
    recipe.write_text("seed: 4\n")
    assert wrong(trace(file)) == [("sha256 of recipe.yaml", "manifest.json")]
    write_manifest(run, Lineage(verb="run", key="k", results={"making": {**making, "seed": 4}}), [recipe])
    assert wrong(trace(file)) == [("pillm.recipe", "manifest.json")]


def test_an_export_says_what_the_run_told_it_when_that_changes(tmp_path: Path) -> None:
    made(tmp_path / "run")
    before = (read_manifest(tmp_path / "run" / "train") or {})["finished"]
    file = made(tmp_path / "run", recipe="R2")
    assert read_header(file).metadata["pillm.recipe"] == "R2"
    assert (read_manifest(tmp_path / "run" / "train") or {})["finished"] == before, "nothing was trained for it"
    assert verify(tmp_path / "run") == []


def test_without_an_export_there_is_nothing_to_hold_it_against(tmp_path: Path) -> None:
    alone = tmp_path / "a" / "b" / "c"
    alone.mkdir(parents=True)
    (alone / "x.gguf").write_bytes(gguf({"a": 1}, []))
    with pytest.raises(DataError, match="no finished export is found"):
        trace(alone / "x.gguf")
    with pytest.raises(DataError, match="not a sound GGUF file"):
        (alone / "x.gguf").write_bytes(b"GGUF")
        trace(alone / "x.gguf")


def test_rows_of_another_labelling_say_nothing(tmp_path: Path) -> None:
    file = made(tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "label")
    label([Prompt(id="x", messages=({"role": "user", "content": "other"},))], EchoTeacher(), tmp_path / "run" / "label")
    assert wrong(trace(file)) == []
    assert "labelled.jsonl" not in {one.where.name for one in trace(file)}


def passed_on(tmp_path: Path) -> Path:
    """Return a file as it arrives elsewhere: with what stands beside it, and without its run."""
    export_, away = made(tmp_path / "run").parent, tmp_path / "downloads" / "student"
    shutil.copytree(export_, away)
    (away / "manifest.json").unlink()
    shutil.rmtree(tmp_path / "run")
    return away / "student-F16.gguf"


def test_a_file_that_was_passed_on_is_held_against_what_came_with_it(tmp_path: Path) -> None:
    file = passed_on(tmp_path)
    (tmp_path / "downloads" / "train").mkdir()  # of somebody else
    write_manifest(tmp_path / "downloads" / "train", Lineage(verb="train", key="k"))
    found = trace(file)
    assert wrong(found) == []
    assert {one.where.name for one in found} == {"SHA256SUMS", "card.json", "contract.json"}
    card = json.loads((file.parent / "card.json").read_text("utf-8"))
    (file.parent / "card.json").write_text(json.dumps({**card, "license": "apache-2.0"}), "utf-8")
    assert wrong(trace(file)) == [("general.license", "card.json")]


def test_one_changed_byte_of_a_file_that_was_passed_on_is_found(tmp_path: Path) -> None:
    file = passed_on(tmp_path)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    assert wrong(trace(file)) == [("sha256", "SHA256SUMS")]


def test_a_file_of_a_training_that_tells_no_lineage_owes_none(tmp_path: Path) -> None:
    made(tmp_path / "run")
    trained = tmp_path / "run" / "train"
    (trained / "lineage.json").unlink()
    (model,) = export(Checkpoint(path=trained, name="x"), HeaderExporter(), tmp_path / "run" / "other")
    assert wrong(trace(model.path, tmp_path / "run" / "other")) == wrong(trace(model.path)) == []
