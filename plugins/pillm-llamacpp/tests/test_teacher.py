from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from pillm_llamacpp.teacher import GGUFTeacher
from pillm_llamacpp_tiny import request

import pillm
from pillm.options import describe
from pillm.testing import check_teacher


def test_the_teacher_keeps_the_protocol_and_is_known_by_its_content(gguf: pillm.ModelFile, tmp_path: Path) -> None:
    teacher = GGUFTeacher(model=gguf.path, max_tokens=8)
    check_teacher(teacher)
    elsewhere = tmp_path / "other.gguf"
    shutil.copyfile(gguf.path, elsewhere)
    moved = GGUFTeacher(model=elsewhere, max_tokens=8)
    assert teacher.identity() == moved.identity()
    assert teacher.identity()["sha256"] == gguf.sha256


def test_only_what_changes_an_answer_is_part_of_the_teachers_identity(gguf: pillm.ModelFile) -> None:
    known = GGUFTeacher(model=gguf.path).identity()
    assert known == GGUFTeacher(model=gguf.path, seed=9, parallel=2, threads=1, batch=64).identity()
    assert known != GGUFTeacher(model=gguf.path, context=99).identity(), "an answer stops where the context ends"
    drawn = [GGUFTeacher(model=gguf.path, temperature=1.0, seed=seed).identity() for seed in (0, 9)]
    assert drawn[0] != drawn[1]


def test_a_larger_context_asks_again_what_did_not_fit_the_smaller_one(gguf: pillm.ModelFile, tmp_path: Path) -> None:
    rows = [pillm.Prompt(id="long", messages=({"role": "user", "content": "un mot " * 20},))]
    small, large = (
        pillm.label(rows, GGUFTeacher(model=gguf.path, context=context, max_tokens=4), tmp_path) for context in (32, 256)
    )
    assert small.counts.failed == 1
    assert not large.up_to_date
    assert large.counts.failed == 0


def test_the_file_is_in_the_key_by_its_content_and_never_by_its_path(gguf: pillm.ModelFile) -> None:
    (model,) = [option for option in describe(GGUFTeacher) if option["name"] == "model"]
    assert model["in_key"]
    assert str(gguf.path) not in str(GGUFTeacher(model=gguf.path).identity())


def test_evaluations_ask_the_teacher_without_a_grammar_and_without_sampling(gguf: pillm.ModelFile) -> None:
    asked = GGUFTeacher(model=gguf.path, constrain=True, temperature=0.7).greedy()
    assert (asked.constrain, asked.temperature) == (False, 0.0)
    (result,) = [said for _, said in asked.answer(iter([request(schema={"const": "oui"})]))]
    assert isinstance(result, pillm.Answer)
    assert result.content != '"oui"'


def test_the_teacher_forecasts_four_characters_to_a_token(gguf: pillm.ModelFile) -> None:
    teacher = GGUFTeacher(model=gguf.path, max_tokens=5)
    assert teacher.estimate(request("a" * 40)) == pillm.Usage(prompt_tokens=10, completion_tokens=5)


def test_a_teachers_file_that_is_not_there_is_told_before_anything_is_asked(gguf: pillm.ModelFile, tmp_path: Path) -> None:
    GGUFTeacher(model=gguf.path).check()
<<<<<<< HEAD
    with pytest.raises(pillm.DataError, match=r"none\.gguf: it cannot be read"):
=======
    with pytest.raises(pillm.DataError, match=r"none\.gguf: it cannot be read: No such file"):
>>>>>>> part-hostile
        GGUFTeacher(model=tmp_path / "none.gguf").check()


def test_answers_name_the_tokenizer_of_the_checkpoint_that_was_exported(
    gguf: pillm.ModelFile, checkpoint: pillm.Checkpoint
) -> None:
    (said,) = [said for _, said in GGUFTeacher(model=gguf.path, max_tokens=2).answer(iter([request("un")]))]
    assert isinstance(said, pillm.Answer)
    assert said.tokenizer_hash == pillm.tokenizer_hash(checkpoint.path / "tokenizer.json")


def test_the_teacher_names_its_file_and_not_where_it_lies(gguf: pillm.ModelFile) -> None:
    assert GGUFTeacher(model=gguf.path).origin() == pillm.Origin(name=gguf.path.stem)
