"""The trainer from rows to a published student, with EasyDistill's stand-in as a real child process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pillm_easydistill import EasyDistillTrainer
from pillm_hf import HFRunner

import pillm
from pillm.testing import check_trainer

Standin = Callable[..., Path]
STANDIN = Path(__file__).with_name("standin") / "v1"
WORDS = ["fin", "lac", "pont", "neige", "érable", "minuit", "rouge", "onze", "matin", "livre", "train", "chat"]
ROWS = [(one, two.upper()) for one, two in zip(WORDS, WORDS[1:] + WORDS[:1], strict=True)]
LEARNS: dict[str, Any] = {
    "num_train_epochs": 25, "learning_rate": 5e-3, "gradient_accumulation_steps": 4, "launch": "direct", "logging_steps": 1,
}  # fmt: skip


def listening() -> tuple[pillm.Progress, list[pillm.Event]]:
    events: list[pillm.Event] = []
    return pillm.Progress("train", (events.append,)), events


def prompt(name: str, text: str) -> pillm.Prompt:
    return pillm.Prompt(id=name, messages=({"role": "user", "content": text},))


def answers(folder: Path, questions: list[str]) -> list[str]:
    asked = [pillm.Contract().request(prompt(text, text), {}) for text in questions]
    with HFRunner(max_new_tokens=12, dtype="float32").open(pillm.Checkpoint(path=folder)) as session:
        found = {request.prompt.id: result for request, result in session.answer(iter(asked))}
    return [getattr(found[text], "content", "") for text in questions]


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[pillm.Event]]:
    """Train a student on twelve rows and return its folder and what was reported."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(STANDIN, folder / "checkout")
    progress, events = listening()
    settings = pillm.Training(seed=3, probes=tuple(prompt(f"p{at}", ask) for at, (ask, _) in enumerate(ROWS)))
    examples = [pillm.Example(prompt=prompt(f"r{at}", ask), answer=pillm.Answer(said)) for at, (ask, said) in enumerate(ROWS)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder / "checkout"))
        trainer = EasyDistillTrainer(base=str(base), **LEARNS)
        pillm.train(examples, trainer, folder / "a run; with spaces", settings=settings, progress=progress)
    return folder / "a run; with spaces", events


def test_a_student_learns_its_rows_and_answers_through_its_own_template(trained: tuple[Path, list[pillm.Event]]) -> None:
    out, events = trained
    said = answers(out, [ask for ask, _ in ROWS])
    assert sum(got == wanted for got, (_, wanted) in zip(said, ROWS, strict=True)) >= 10
    assert [event.done for event in events if event.kind == "advance"][-1] == 75
    record = json.loads((out / "training.json").read_text("utf-8"))
    assert record["log"][-1]["loss"] < record["log"][0]["loss"] / 10
    assert (record["rows"], record["steps"], record["answer_tokens"] > 0) == (12, 75, True)


def test_what_is_published_is_the_base_with_other_weights(trained: tuple[Path, list[pillm.Event]], base: Path) -> None:
    out, _ = trained
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (out / name).read_bytes() == (base / name).read_bytes()
    checkpoint = pillm.Checkpoint(path=out)
    assert checkpoint.config["rope_parameters"] == {"rope_type": "default", "rope_theta": 1000000.0}
    assert checkpoint.config["dtype"] == "bfloat16"
    assert {path.name for path in (out / "easydistill").iterdir()} == {"config.json", "log.txt"}
    assert not list(out.glob(".*"))  # neither the rows nor a second set of weights stays


def test_the_trainer_conforms(standin: Standin, base: Path, tmp_path: Path) -> None:
    standin("v1")
    place = tmp_path / "conformance"
    place.mkdir()
    check_trainer(EasyDistillTrainer(base=str(base), num_train_epochs=1, launch="direct"), place)


@pytest.mark.full
def test_a_teacher_of_the_same_tokenizer_is_learnt_in_a_white_box_job(
    standin: Standin, base: Path, data: pillm.TrainingData, out: Path
) -> None:
    standin("v1")
    trainer = EasyDistillTrainer(
        base=str(base), teacher=str(base), job_type="kd_white_box_train_only", kd_ratio=0.9, gradient_accumulation_steps=1
    )
    trainer.train(data, out, pillm.Progress())
    config = json.loads((out / "easydistill" / "config.json").read_text("utf-8"))
    assert config["distillation"]["kd_ratio"] == 0.9
    assert (out / "model.safetensors").is_file()


@pytest.mark.full
def test_its_own_command_trains_although_it_takes_a_harmless_line_for_a_failure(
    standin: Standin, base: Path, data: pillm.TrainingData, tmp_path: Path
) -> None:
    """The stand-in prints a line with "error", "failed" and "exception", and starts training through accelerate."""
    standin("v1")
    out = tmp_path / "train"
    out.mkdir()
    EasyDistillTrainer(base=str(base), num_train_epochs=1, launch="cli").train(data, out, pillm.Progress())
    assert (out / "model.safetensors").is_file()
    assert "Detected error in output" in (out / "easydistill" / "log.txt").read_text("utf-8")


@pytest.mark.full
def test_accelerate_trains_in_a_folder_that_a_shell_would_take_apart(
    standin: Standin, base: Path, data: pillm.TrainingData, out: Path
) -> None:
    standin("v1")
    EasyDistillTrainer(base=str(base), num_train_epochs=1, launch="accelerate").train(data, out, pillm.Progress())
    assert (out / "model.safetensors").is_file()
