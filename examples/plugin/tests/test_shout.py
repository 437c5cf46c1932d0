"""The plugin keeps pillm's protocol and takes part in a run, installed as a stranger would install it."""

from pathlib import Path

import pillm_shout
import pytest

import pillm
from pillm.testing import (
    check_exporter,
    check_metric,
    check_plugin,
    check_runner,
    check_teacher,
    check_trainer,
)

HERE = Path(__file__).parent.parent


def test_the_plugin_declares_itself_well():
    assert {cls.name for cls in check_plugin(pillm_shout)} == {"shout", "lookup", "packed", "table", "closeness"}


def test_every_backend_keeps_its_protocol(tmp_path):
    said = check_teacher(pillm_shout.Shout(marks=2))
    assert said[0].content == "LIGHT!!"
    checkpoint = check_trainer(pillm_shout.Lookup(), tmp_path / "train")
    models = check_exporter(pillm_shout.Packed(keep=(100, 50)), checkpoint, tmp_path / "export")
    assert models[0].bytes > models[1].bytes
    for model in (checkpoint, *models):
        check_runner(pillm_shout.Table(), model)
    check_metric(pillm_shout.Closeness())


def test_a_new_request_gets_the_answer_of_the_nearest_one(tmp_path):
    checkpoint = check_trainer(pillm_shout.Lookup(), tmp_path / "train")
    prompt = pillm.Prompt(id="x", messages=({"role": "user", "content": "Allume la lumière de la cuisine."},))
    request = pillm.Contract().request(prompt, {})
    with pillm_shout.Table().open(checkpoint) as session:
        [(_, answer)] = session.answer(iter([request]))
    assert answer.content == '{"room": "salon"}'


def test_a_file_that_is_no_table_is_told_as_one(tmp_path):
    (tmp_path / "a.shout").write_bytes(b"no")
    with pytest.raises(pillm.BackendError, match="is not a table"):
        pillm_shout.Table().open(pillm.ModelFile.of(tmp_path / "a.shout", "KEEP100"))


def test_words_in_common_are_counted_in_order():
    prompt = pillm.Prompt(id="x", messages=(), reference=pillm.Reference(message={"content": "LIGHT in the kitchen"}))
    assert pillm_shout.Closeness().score(prompt, pillm.Answer("light in the kitchen")) == 0.75
    assert pillm_shout.Closeness(loudness=False).score(prompt, pillm.Answer("light in the kitchen")) == 1.0


def test_the_recipe_runs_from_labels_to_report(tmp_path):
    recipe = pillm.load_recipe(HERE / "shout.yaml")
    result = pillm.run(recipe, tmp_path / "run")
    assert result.gates_met
    assert [model.quant for model in result.models] == ["KEEP100", "KEEP50"]
    assert result.report["rows"]["answered"] == 48
