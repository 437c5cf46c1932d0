"""What EasyDistill is given: texts and ids of the student's own template, a whole configuration, a base without code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, FileSystemLoader
from pillm_easydistill import EasyDistillTrainer, jobfiles, student
from pillm_easydistill.jobfiles import JobFiles
from pillm_easydistill.student import Base, Lesson

import pillm

CALL = {"type": "function", "function": {"name": "light", "arguments": {"room": "salon"}}}
CONVERSATION = {
    "id": "long",
    "messages": [
        {"role": "system", "content": "Réponds."},
        {"role": "user", "content": "Allume\nla lumière {{ 'du' }} salon."},
        {"role": "assistant", "content": "Laquelle?"},
        {"role": "user", "content": "Toutes."},
        {"role": "assistant", "content": "Voilà, {% if %} \u2028 c'est fait. "},
    ],
}
CALLING = {
    "id": "call",
    "messages": [{"role": "user", "content": "Allume."}, {"role": "assistant", "content": "", "tool_calls": [CALL]}],
    "tools": [{"name": "light", "parameters": {"type": "object", "properties": {"room": {"type": "string"}}}}],
}


def taught(base: Path, rows: pillm.Rows, max_length: int = 250) -> tuple[Base, list[Lesson]]:
    opened = Base.open(str(base), None)
    data = pillm.TrainingData(train=rows, validation=rows, calibration=rows)
    return opened, student.lessons(data, opened.chat, max_length, pillm.Progress())[0]


def test_the_rendered_template_is_the_conversation_in_the_students_own_words(
    base: Path, rows: Callable[[list[Any]], pillm.Rows], tmp_path: Path
) -> None:
    """Rows of several turns and rows with tool calls can be said too: what is asked is whatever comes before the answer."""
    opened, lessons = taught(base, rows([("fin", "LAC"), CONVERSATION, CALLING]))
    files = JobFiles(tmp_path)
    jobfiles.write_rows(lessons, files, completion_only=True)
    template = Environment(loader=FileSystemLoader(tmp_path)).get_template(files.template.name)
    for row, lesson in zip(json.loads(files.labelled.read_text("utf-8")), lessons, strict=True):
        message = {"content": row["instruction"], "output": row["output"]}
        text = template.render(message=message, add_generation_prompt=False, add_output=True)
        assert text == opened.chat.conversation(lesson.row.messages, lesson.row.tools)
        asked = template.render(message=message, add_generation_prompt=True, add_output=False)
        assert asked == opened.chat.prompt(lesson.row.messages[:-1], lesson.row.tools)


def test_the_ids_are_those_of_the_student_and_the_mask_reads_as_the_answer(
    base: Path, rows: Callable[[list[Any]], pillm.Rows], tmp_path: Path
) -> None:
    opened, lessons = taught(base, rows([("fin", "LAC"), CONVERSATION]))
    files = JobFiles(tmp_path)
    jobfiles.write_rows(lessons, files, completion_only=True)
    for row, said in zip(json.loads(files.labelled.read_text("utf-8")), ("LAC", "c'est fait. "), strict=True):
        assert row["input_ids"] == opened.chat.encode([row["instruction"] + row["output"]])[0]
        learnt = [token for token, one in zip(row["input_ids"], row["completion_mask"], strict=True) if one]
        assert opened.chat.tokenizer.decode(learnt).endswith(f"{said}<|im_end|>")


def test_the_whole_conversation_is_learnt_where_that_is_asked_for(
    base: Path, rows: Callable[[list[Any]], pillm.Rows], tmp_path: Path
) -> None:
    _, lessons = taught(base, rows([("fin", "LAC")]))
    jobfiles.write_rows(lessons, JobFiles(tmp_path), completion_only=False)
    assert "completion_mask" not in json.loads(JobFiles(tmp_path).labelled.read_text("utf-8"))[0]


def test_every_key_that_version_1_reads_by_name_is_written(tmp_path: Path) -> None:
    options = EasyDistillTrainer(base="b", training={"optim": "adafactor"}, seed=5)
    jobfiles.write_config(options, JobFiles(tmp_path), seed=5, longest=77, gpus=0)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert {*config["dataset"]} == {"instruction_path", "labeled_path", "logits_path", "template", "seed"}
    assert {*config["models"]} == {"teacher", "student"}
    assert config["distillation"] == {"kd_ratio": 0.1, "max_seq_length": 77, "distillation_type": "forward_kld"}
    training = config["training"]
    assert (training["optim"], training["report_to"], training["use_cpu"], training["seed"]) == ("adafactor", "none", True, 5)
    assert Path(training["output_dir"]).is_absolute()


def test_the_base_is_said_in_the_words_of_both_generations_of_transformers(base: Path, tmp_path: Path) -> None:
    files = JobFiles(tmp_path)
    jobfiles.stage_base(Base.open(str(base), None), files)
    config = json.loads((files.student / "config.json").read_text("utf-8"))
    assert config["rope_theta"] == 1000000.0 == config["rope_parameters"]["rope_theta"]
    assert config["dtype"] == config["torch_dtype"] == "float32"
    settings = json.loads((files.student / "tokenizer_config.json").read_text("utf-8"))
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["additional_special_tokens"] == ["<|im_start|>"]
    assert not (files.student / "generation_config.json").exists()
    assert (files.student / "model.safetensors").samefile(base / "model.safetensors")


def test_python_of_a_base_never_reaches_a_loader_that_trusts_it(base: Path, tmp_path: Path) -> None:
    import shutil

    own = tmp_path / "own"
    shutil.copytree(base, own)
    (own / "modeling_own.py").write_text("raise SystemExit('executed')\n", "utf-8")
    for name in ("config.json", "tokenizer_config.json"):
        settings = json.loads((own / name).read_text("utf-8")) | {"auto_map": {"AutoModel": "modeling_own.Own"}}
        (own / name).write_text(json.dumps(settings), "utf-8")
    files = JobFiles(tmp_path / "files")
    files.folder.mkdir()
    jobfiles.stage_base(Base(own, Base.open(str(base), None).chat, ""), files)
    assert not list(files.student.glob("*.py"))
    assert all("auto_map" not in (files.student / name).read_text("utf-8") for name in ("config.json", "tokenizer_config.json"))


def test_scaled_rotary_frequencies_keep_their_scale_and_those_of_each_layer_are_refused(base: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "rope_theta": 10.0}}
    older = jobfiles._older_config(given, base)
    assert (older["rope_theta"], older["rope_scaling"]) == (10.0, {"rope_type": "yarn", "factor": 4.0})
    with pytest.raises(pillm.DataError, match="each kind of layer has rotary frequencies of its own"):
        jobfiles._older_config({"rope_parameters": {"full_attention": {"rope_theta": 1.0}}}, base)
