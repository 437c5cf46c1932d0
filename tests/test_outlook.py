"""What can be told before a teacher is asked is told then: the rows, the plan, and whatever stands in the way."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pillm.errors import ConfigError, DataError, MissingDependency, Unavailable
from pillm.outlook import look_ahead, make_ready
from pillm.pipeline import RunResult, run
from pillm.recipe import Recipe, load_recipe
from pillm.rehearsal import rehearse
from pillm.testing import FAKES, installed_plugin
from tests.needy import NEEDY

RECIPE = """
prompts: rows.jsonl
split: {test: 2}
teacher: {use: echo}
trainer: {use: table}
exporter: {use: table}
runner: {use: table}
checkpoint_runner: {use: table}
bench: {pp: 8, tg: 8, repetitions: 1}
"""
NANO = {
    "model_type": "qwen2", "hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 8,
    "num_key_value_heads": 2, "vocab_size": 4096, "tie_word_embeddings": True, "max_position_embeddings": 1024,
}  # fmt: skip
HUGE = {**NANO, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 80, "vocab_size": 128256}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """Return the folder whose files `key`, `tool`, `base` and `remote` say what is there."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"id": f"r{i}", "user": f"say {i}"}) + "\n" for i in range(8)))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    with installed_plugin(tmp_path / "fakes", "fakes", FAKES), installed_plugin(tmp_path / "needy", "needy", NEEDY):
        yield tmp_path / "needy"


def recipe(site: Path, *overrides: str) -> Recipe:
    return load_recipe(site.parent / "recipe.yaml", overrides)


def go(site: Path, *overrides: str) -> RunResult:
    return run(recipe(site, *overrides), site.parent / "run")


def put(folder: Path, config: dict[str, object]) -> None:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))


def test_a_tool_that_is_missing_is_told_before_the_teacher_is_asked(site: Path) -> None:
    with pytest.raises(MissingDependency, match="Get it with: fetch-tool"):
        go(site, "exporter.use=tooled")
    assert not (site.parent / "run").exists()


@pytest.mark.parametrize("device", [[], ["device=pi4-4gb"]], ids=["no device", "pi4-4gb"])
def test_a_base_that_cannot_be_had_is_told_before_the_teacher_is_asked(site: Path, device: list[str]) -> None:
    with pytest.raises(Unavailable, match="hub is out of reach"):
        go(site, "trainer.use=based", *device)
    assert not (site.parent / "run").exists()


@pytest.mark.parametrize("part", ["teacher", "runner", "checkpoint_runner"])
def test_answers_that_could_not_be_held_to_their_schema_are_told_before_the_teacher_is_asked(site: Path, part: str) -> None:
    rows = [{"id": f"r{i}", "user": f"say {i}", "schema": {"not": {"type": "null"}}} for i in range(8)]
    use = f"{part}.use={'strict' if part == 'teacher' else 'held'}"
    assert look_ahead(recipe(site, use), site.parent / "run").obstacles == ()
    (site.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError, match="can be held to 'not'"):
        go(site, use)
    assert not (site.parent / "run").exists()


def test_a_base_is_downloaded_only_where_nothing_else_stands_in_the_way(site: Path) -> None:
    put(site / "remote", NANO)
    with pytest.raises(MissingDependency):
        go(site, "trainer.use=based", "exporter.use=tooled")
    assert not (site / "base").exists()


@pytest.mark.parametrize(
    ("config", "overrides", "words"),
    [(HUGE, ["device=pi4-4gb"], "Does not fit"), (NANO, ["trainer.wordy=true"], "too long")],
)
def test_a_base_that_was_downloaded_is_looked_at_before_the_teacher_is_asked(
    site: Path, config: dict[str, object], overrides: list[str], words: str
) -> None:
    put(site / "remote", config)
    with pytest.raises(ConfigError, match=words):
        go(site, "trainer.use=based", *overrides)
    assert not (site.parent / "run").exists()


def test_of_several_obstacles_the_first_is_raised_and_the_others_are_logged(
    site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(Unavailable, match="the key is not set"):
        go(site, "teacher.use=keyed", "exporter.use=tooled")
    assert "the tool is not installed" in caplog.text


def test_what_made_a_result_that_stands_is_needed_no_more(site: Path) -> None:
    asked = ("teacher.use=keyed", "exporter.use=tooled")
    for name in ("key", "tool"):
        (site / name).touch()
    first = go(site, *asked)
    for name in ("key", "tool"):
        (site / name).unlink()
    assert go(site, *asked).report == first.report
    with pytest.raises(MissingDependency):
        go(site, *asked, "exporter.quants=[Q8_0]")


def test_a_look_ahead_tells_rows_plan_and_obstacles_and_touches_nothing(site: Path) -> None:
    put(site / "base", NANO)
    found = look_ahead(recipe(site, "trainer.use=based", "exporter.use=tooled", "device=pi4-4gb"), site.parent / "run")
    assert len(found.rows.sides["train"]) == 6
    assert found.plan is not None
    assert found.plan.fits
    assert [type(one) for one in found.obstacles] == [MissingDependency]
    assert not (site.parent / "run").exists()


def test_a_plan_tells_the_times_of_a_middling_row_where_answers_are_known(site: Path) -> None:
    put(site / "base", NANO)
    asked = ("trainer.use=based", "device=pi4-4gb")
    found = look_ahead(recipe(site, *asked), site.parent / "run").plan
    assert found is not None
    assert found.lengths is None, "nobody knows an answer"
    rows = [{"id": f"r{i}", "user": f"{i:03}" + "u" * 397, "assistant": "a" * 80} for i in range(8)]
    (site.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = look_ahead(recipe(site, *asked), site.parent / "run").plan
    assert found is not None
    assert found.lengths is not None
    assert (found.lengths.prompt, found.lengths.answer, found.lengths.estimated) == (109, 20, True)
    assert 0 < (found.ttft_s or 0) < (found.answer_s or 0)


def test_a_base_that_is_not_here_is_planned_from_its_config_and_refused_before_it_is_downloaded(site: Path) -> None:
    asked = ("trainer.use=based", "device=pi4-4gb")
    put(site / "config", NANO)
    assert rehearse(recipe(site, *asked), site.parent / "run").plan is not None
    (site / "config" / "config.json").write_text(json.dumps(HUGE))
    (site / "remote").mkdir()
    for go_ in (rehearse, run):
        with pytest.raises(ConfigError, match="Does not fit"):
            go_(recipe(site, *asked), site.parent / "run")
    assert (site / "remote").is_dir(), "nothing was downloaded"
    assert not (site.parent / "run").exists()


def test_a_config_that_cannot_be_had_leaves_the_plan_for_later(site: Path) -> None:
    (site / "cut").touch()
    assert look_ahead(recipe(site, "trainer.use=based", "device=pi4-4gb"), site.parent / "run").plan is None


def test_a_student_that_does_not_fit_is_refused_in_sentences(site: Path) -> None:
    put(site / "base", {**NANO, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 18})
    with pytest.raises(ConfigError) as caught:
        look_ahead(recipe(site, "trainer.use=based", "device=pi4-2gb", "exporter.quants=[F16]"), site.parent / "run")
    said = str(caught.value)
    assert said.startswith("the student in F16 is not for device 'pi4-2gb'. Does not fit Raspberry Pi 4, 2 GB: it needs ")
    assert said.endswith(". No teacher was asked and nothing was written.")
    first, second, *_ = said.partition(" Instead: ")[2].split("; ")
    assert first.startswith("Q4_K_M: ")
    assert first.endswith(" tokens per second")
    assert second.startswith("Q4_0: ")


def test_a_student_that_fits_tightly_is_warned_of_and_not_refused(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(site / "base", {**NANO, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 28})
    asked = ("trainer.use=based", "device=pi5-4gb", "exporter.quants=[Q8_0]")
    with caplog.at_level(logging.WARNING):
        found = look_ahead(recipe(site, *asked), site.parent / "run").plan
    assert found is not None
    assert (found.fits, found.tight) == (True, True)
    assert "Q8_0: Fits Raspberry Pi 5, 4 GB tightly: " in caplog.text


def test_the_context_is_the_runners_where_it_has_one(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(site / "base", {**NANO, "max_position_embeddings": 32768})
    asked = ("trainer.use=based", "device=pi4-2gb", "runner.use=held")
    rows = [{"id": f"r{i}", "user": f"{i:03}" + "u" * 397, "assistant": "a" * 80} for i in range(8)]
    (site.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for context, told in ((8192, True), (100, False)):
        found = look_ahead(recipe(site, *asked, f"runner.context={context}"), site.parent / "run").plan
        assert found is not None
        assert (found.context, found.lengths is not None) == (context, told)
        assert ("the longest row has about 129 tokens" in caplog.text) is not told


def test_a_student_that_fits_in_the_runners_context_is_not_refused_for_a_longer_one(site: Path) -> None:
    put(site / "base", {**NANO, "num_hidden_layers": 24, "num_key_value_heads": 512, "max_position_embeddings": 32768})
    asked = ("trainer.use=based", "device=pi4-2gb", "runner.use=held", "exporter.quants=[Q8_0]")
    with pytest.raises(ConfigError, match="Does not fit"):
        look_ahead(recipe(site, *asked), site.parent / "run")
    found = look_ahead(recipe(site, *asked, "runner.context=256"), site.parent / "run").plan
    assert found is not None
    assert (found.fits, found.context) == (True, 256)


def test_rows_that_are_longer_than_the_devices_usual_context_are_planned_for(site: Path) -> None:
    put(site / "base", {**NANO, "max_position_embeddings": 32768})
    rows = [{"id": f"r{i}", "user": f"{i:03}" + "u" * (8000 * (i == 3) + 1), "assistant": "a" * 80} for i in range(8)]
    (site.parent / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = look_ahead(recipe(site, "trainer.use=based", "device=pi4-2gb"), site.parent / "run").plan
    assert found is not None
    assert found.context == 2030, "the longest of the rows, with its answer"
    assert found.lengths is not None
    assert found.lengths.tokens < 100, "and the times are those of a middling one"


def test_a_quantisation_of_unknown_size_is_told_and_the_others_planned(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(site / "base", NANO)
    asked = ("trainer.use=based", "device=pi4-4gb")
    found = look_ahead(recipe(site, *asked, "exporter.quants=[Q8_0, int8]"), site.parent / "run")
    assert found.plan is not None
    assert found.plan.quant == "Q8_0"
    assert "no size is known for quantisation int8" in caplog.text
    assert look_ahead(recipe(site, *asked, "exporter.quants=[int8]"), site.parent / "run").plan is None


def test_a_file_that_may_fit_is_not_refused_for_the_others(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(site / "base", HUGE)
    asked = ("trainer.use=based", "device=pi4-4gb")
    assert look_ahead(recipe(site, *asked, "exporter.quants=[Q8_0, int1]"), site.parent / "run").plan is None
    assert "Q8_0: Does not fit" in caplog.text
    with pytest.raises(ConfigError, match="Does not fit"):
        look_ahead(recipe(site, *asked, "exporter.quants=[Q8_0]"), site.parent / "run")


def test_a_device_is_planned_for_the_student_and_not_for_the_base_it_is_cut_from(site: Path) -> None:
    put(site / "base", HUGE)
    asked = ("trainer.use=based", "device=pi4-4gb")
    with pytest.raises(ConfigError, match="pi4-4gb"):
        look_ahead(recipe(site, *asked), site.parent / "run")
    found = look_ahead(recipe(site, *asked, "trainer.layers=1"), site.parent / "run").plan
    assert found is not None
    assert found.fits
    assert found.model == "base"


def test_a_smaller_student_is_planned_for_once_its_base_was_downloaded(site: Path) -> None:
    put(site / "remote", HUGE)
    assert look_ahead(recipe(site, "trainer.use=based", "device=pi4-4gb"), site.parent / "run").plan is None
    made = recipe(site, "trainer.use=based", "device=pi4-4gb", "trainer.layers=1")
    assert make_ready(made, site.parent / "run").sides["train"]


@pytest.mark.parametrize("where", ["base", "remote"])
def test_a_student_that_cannot_be_exported_is_refused_before_the_teacher_is_asked(site: Path, where: str) -> None:
    put(site / where, {**NANO, "num_hidden_layers": 101})
    with pytest.raises(DataError, match=r"exporter 'picky' could not export a student of base: 101 layers .* Keep 100\."):
        go(site, "trainer.use=based", "exporter.use=picky")
    assert not (site.parent / "run").exists()


def test_the_shape_that_is_trained_is_examined_and_notes_are_logged(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(site / "base", {**NANO, "num_hidden_layers": 101})
    look_ahead(recipe(site, "trainer.use=based", "trainer.layers=4", "exporter.use=picky"), site.parent / "run")
    assert "widths: rows are odd. Prefer IQ4_NL." in caplog.text


@pytest.mark.parametrize(
    ("quants", "warned"),
    [("[F16, Q4_0]", None), ("[f16, q4_0]", None), ("[F16, Q8_0]", "makes F16, Q8_0"), ("[auto]", "chooses what it makes")],
)
def test_a_student_that_is_trained_for_the_rounding_of_no_file_is_told_of(
    site: Path, caplog: pytest.LogCaptureFixture, quants: str, warned: str | None
) -> None:
    asked = ("trainer.use=based", f"exporter.quants={quants}")
    look_ahead(recipe(site, *asked), site.parent / "run")
    assert "rounding" not in caplog.text, "nothing is trained for any rounding"
    rehearse(recipe(site, *asked, "trainer.quantization_aware={type: Q4_0}"), site.parent / "run")
    assert ("trained for the rounding of Q4_0 (quantization_aware)" in caplog.text) is (warned is not None)
    assert (warned or "") in caplog.text
