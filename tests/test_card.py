"""One card holds what a model is, what it was made from, and how good its files are."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from pillm.artifacts import Benchmark, Checkpoint, Evaluation, Figure, ModelFile
from pillm.cards.card import Card, card_of, card_to_json, read_card, with_results
from pillm.cards.lineage import write_lineage
from pillm.cards.preference import Preference
from pillm.cli.formats import format_schema
from pillm.contract import Contract
from pillm.errors import DataError
from tests.test_lineage import BasedTrainer, example, making

FIGURE = Figure(mean=0.9, low=0.8, high=0.95, rows=40)
MODEL = ModelFile(path=Path("a-Q8_0.gguf"), quant="Q8_0", bytes=10, sha256="0" * 64)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """Return a folder as `train` leaves it."""
    base = tmp_path / "base"
    base.mkdir()
    (base / "README.md").write_text("---\nlicense: mit\nlicense_link: https://example.org/l\n---\n")
    folder = tmp_path / "train"
    folder.mkdir()
    Contract(system="Be brief.").with_student(template="T", special_tokens={}, stop_tokens=("<e>",)).save(
        folder / "contract.json"
    )
    rows = [example(1, source="d", license="CC0-1.0", language="fr-CA")]
    write_lineage(folder, making(rows, trainer=BasedTrainer(folder=base), teacher=None))
    told = {"recipe": "R", "terms": {"teacher": "apache-2.0"}}
    return Checkpoint(path=folder, name="my task", told=told)


def test_a_checkpoints_card_says_what_it_was_made_from(checkpoint: Checkpoint) -> None:
    card = card_of(checkpoint)
    assert card.stem == "tiny-my-task-v1.0"
    assert (card.license, card.license_link, card.publishable) == ("mit", "https://example.org/l", True)
    assert [(part.role, part.license, part.said_by) for part in card.parts] == [
        ("base", "mit", "model card"), ("teacher", "apache-2.0", "recipe"), ("data", "CC0-1.0", "rows"),
    ]  # fmt: skip
    assert card.languages == ("fr-CA",)
    assert (card.system, card.stop_tokens) == ("Be brief.", ("<e>",))
    assert card.lineage["pillm.recipe"] == "R"
    assert card.lineage["pillm.contract"] == checkpoint.contract["hash"]
    assert (card.lineage["pillm.seed"], card.lineage["pillm.train"], card.lineage["pillm.base"]) == ("7", "K", "owner/tiny")
    assert card.lineage["pillm.data"] == json.loads((checkpoint.path / "lineage.json").read_text())["data"]["hash"]


def test_what_is_asked_for_outweighs_what_the_run_says(checkpoint: Checkpoint) -> None:
    card = card_of(checkpoint, version="v2.0", license="apache-2.0", title="Mine")
    assert (card.name, card.version, card.license, card.license_link) == ("Mine", "v2.0", "apache-2.0", None)


def test_a_folder_without_a_lineage_is_not_published(tmp_path: Path) -> None:
    card = card_of(Checkpoint(path=tmp_path / "x"))
    assert not card.publishable
    assert (card.parts, card.lineage, card.tags) == ((), {}, ())


def test_a_model_that_was_fetched_is_what_it_was(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    card = card_of(Checkpoint(path=tmp_path, name="Tiny-1B-Instruct", origin="acme/Tiny-1B-Instruct@c0ffee"))
    assert card.stem == "Tiny-1B-Instruct-v1.0"
    assert (card.license, card.publishable, card.tags) == ("apache-2.0", True, ())
    assert [(part.role, part.name, part.revision) for part in card.parts] == [("base", "acme/Tiny-1B-Instruct", "c0ffee")]
    assert card.relation == "quantized"


def test_a_foreign_adapter_names_its_base_and_brings_terms_of_its_own(tmp_path: Path) -> None:
    adapter, base = tmp_path / "adapter", tmp_path / "base"
    for folder, license_ in ((adapter, "cc-by-nc-4.0"), (base, "apache-2.0")):
        folder.mkdir()
        (folder / "README.md").write_text(f"---\nlicense: {license_}\n---\n")
    settings = {"base_model_name_or_path": "acme/Tiny-1B", "revision": "c0ffee"}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    card = card_of(Checkpoint(path=adapter, origin="eve/poems@feed"), adapter=(adapter, base))
    assert [(part.name, part.revision, part.license) for part in card.parts] == [
        ("acme/Tiny-1B", "c0ffee", "apache-2.0"), ("eve/poems", "feed", "cc-by-nc-4.0"),
    ]  # fmt: skip
    assert (card.relation, card.publishable, card.license) == ("finetune", False, "apache-2.0")
    assert any("eve/poems is under cc-by-nc-4.0" in reason for reason in card.reasons)
    alone = card_of(Checkpoint(path=adapter))
    assert [(part.name, part.license) for part in alone.parts] == [("acme/Tiny-1B", None), ("adapter", "cc-by-nc-4.0")]
    (adapter / "adapter_config.json").write_text("{")
    with pytest.raises(DataError, match=r"adapter_config\.json is damaged"):
        card_of(Checkpoint(path=adapter))


@pytest.mark.parametrize(("name", "purpose"), [("BertModel", "feature-extraction"), ("LlamaForCausalLM", "text-generation")])
def test_an_encoder_is_for_embeddings(tmp_path: Path, name: str, purpose: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [name]}))
    assert card_of(Checkpoint(path=tmp_path)).purpose == purpose


def test_scores_and_speeds_go_to_their_files(checkpoint: Checkpoint) -> None:
    def scored(kind: str, name: str, set_: str = "test") -> Evaluation:
        return Evaluation(subject=name, kind=kind, set=set_, rows=40, metrics={"exact": FIGURE})  # type: ignore[arg-type]

    fast = Benchmark(model="a-Q8_0.gguf", device="pi4", basis="predicted", pp_tps=5.123, tg_tps=2.0)
    # a teacher may have a file's name
    evaluations = [scored("teacher", "a-Q8_0.gguf"), scored("model", "a-Q8_0.gguf"), scored("model", "a-Q8_0.gguf", "hard")]
    card = with_results(card_of(checkpoint), [MODEL], evaluations, [fast], chosen=Preference("a-Q8_0.gguf", "it is small"))
    (file,), (teacher,) = card.files, card.compared
    assert sorted(file.scores) == ["hard", "test"]
    assert (file.chosen, card.chosen_by) == (True, "it is small")
    assert asdict(file.speeds[0]) == {"device": "pi4", "basis": "predicted", "pp_tps": 5.12, "tg_tps": 2.0, "void": ()}
    assert (teacher.kind, sorted(teacher.scores)) == ("teacher", ["test"])


def test_a_card_is_read_back_as_it_was_written_and_satisfies_its_schema(checkpoint: Checkpoint, tmp_path: Path) -> None:
    import jsonschema

    evaluations = [Evaluation(subject=MODEL.label, kind="model", set="test", rows=40, metrics={"exact": FIGURE})]
    fast = [Benchmark(model=MODEL.label, device="pi4", basis="measured", pp_tps=5, tg_tps=2)]
    card = with_results(card_of(checkpoint), [MODEL], evaluations, fast)
    path = tmp_path / "card.json"
    path.write_text(json.dumps(card_to_json(card)))
    assert read_card(path) == card
    schema = format_schema("card")
    jsonschema.Draft202012Validator(schema).validate(json.loads(path.read_text()))
    assert schema["properties"]["publishable"]["type"] == "boolean"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"card_version": 2}',
        '{"card_version": 1, "nonsense": 1}',
        '{"card_version": 1, "name": "x", "basename": "x", "files": [1]}',
    ],
)
def test_what_is_no_card_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "card.json").write_text(text)
    with pytest.raises(DataError, match=r"card\.json is not a model's card"):
        read_card(tmp_path / "card.json")


def test_a_card_is_frozen() -> None:
    assert Card.__dataclass_params__.frozen  # type: ignore[attr-defined]
