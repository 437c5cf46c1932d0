"""Train the nano student on the quickstart's rows, and watch how far it is from its teacher on rows that it never saw.

python -m tests.benchmarks.teaching.nano LABELS FRACTION [OPTION=VALUE ...] takes so much of the quickstart's steps, with
a schedule of its own, and prints the divergence KL(teacher, student) in nats per answer token as it went, and at the end.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from pillm_hf.distilling import preparing
from pillm_hf.losses.batches import IGNORED, collate, steps_per_epoch
from pillm_hf.losses.loss import kept_logits
from pillm_hf.models.loading import load_model
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import Encoded, encode
from pillm_hf.training import students
from pillm_hf.training.loop import Loop
from torch.nn.functional import kl_div

import pillm
from pillm.recipe import load_recipe
from pillm.runrows import rows_of
from pillm.stages.stored import StoredAnswers

ROOT = Path(__file__).parents[3]
RECIPE = ROOT / "examples" / "quickstart.yaml"
LOGPROBS = 32
"""Twice as many as the quickstart keeps."""
WATCHED = 10
"""Steps between two looks at the rows that are held out."""
SEED = 7


def label(folder: Path) -> Path:
    """Return the quickstart's training and validation rows, labelled by its teacher with log-probabilities, in `folder`."""
    recipe = load_recipe(RECIPE)
    sides = rows_of(recipe).sides
    rows = [row for side in ("train", "validation") for row in sides[side]]
    teacher = recipe.teacher.model_copy(update={"logprobs": LOGPROBS})
    return pillm.label(rows, teacher, out=folder).path


def sides_of(labelled: Path) -> dict[str, list[pillm.Example]]:
    """Return the labelled rows by their side."""
    sides: dict[str, list[pillm.Example]] = {"train": [], "validation": []}
    for example in pillm.read_examples(labelled):
        sides[example.prompt.split or "train"].append(example)
    return sides


class Watcher:
    """A teacher and the rows that no student learns from."""

    def __init__(self, teacher: Path, rows: list[Encoded], pad_id: int) -> None:
        ordered = sorted(rows, key=lambda row: len(row.ids))
        self._batches = [collate(ordered[at : at + 100], pad_id) for at in range(0, len(ordered), 100)]
        model = load_model(teacher, torch.float32)
        self._teacher = [self._logits(model, batch) for batch in self._batches]

    @staticmethod
    def _logits(model: Any, batch: Any) -> torch.Tensor:
        with torch.no_grad():
            return kept_logits(model, batch)[batch.labels != IGNORED].float()

    def divergence(self, model: Any) -> float:
        """Return KL(teacher, student) in nats per answer token."""
        total = sum(
            float(kl_div(self._logits(model, batch).log_softmax(-1), known.log_softmax(-1), reduction="sum", log_target=True))
            for batch, known in zip(self._batches, self._teacher, strict=True)
        )
        return total / sum(batch.answer_tokens for batch in self._batches)


def fit(labelled: Path, fraction: float, distill: dict[str, Any] | None, **more: Any) -> dict[str, Any]:
    """Train once, and return steps, answer tokens, seconds of training alone, and divergences."""
    recipe = load_recipe(RECIPE)
    options = {name: value for name, value in recipe.trainer.options().items() if name != "use"}
    trainer = pillm.trainer("full", **options | {"distill": distill, "load_best_model_at_end": False} | more)
    base, teacher = pillm.model_folder(trainer.base), pillm.model_folder(recipe.teacher.model)
    assert base
    assert teacher
    chat, sides = load_chat(base), sides_of(labelled)
    rows = {name: encode(side, pillm.Contract(), chat, trainer.max_length).rows for name, side in sides.items()}
    watcher = Watcher(teacher, rows["validation"], chat.pad_id)
    torch.manual_seed(SEED)
    model, dtype = students.build(trainer, base, lambda _: None)
    loop = Loop(model, trainer, dtype, chat.pad_id, pillm.Progress())
    whole = steps_per_epoch(len(rows["train"]), trainer.per_device_train_batch_size, 1) * trainer.num_train_epochs
    total = round(whole * fraction)
    loop.optimizer.schedule(total)
    data = pillm.TrainingData(
        train=pillm.Rows(labelled), validation=pillm.Rows(labelled), calibration=pillm.Rows(labelled),
        stored=StoredAnswers(labelled.parent / "answers.sqlite", sides["train"]), teacher=recipe.teacher,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        course = preparing.Course(trainer, data, chat, rows["train"], SEED)
        begun = time.process_time()
        with preparing.prepare(course, model, dtype, Path(place), pillm.Progress()) as taught:
            prepared, loop.teaching = time.process_time() - begun, taught.teaching
            return _steps(loop, rows["train"], total, watcher) | {"prepared": prepared}


def _steps(loop: Loop, rows: list[Encoded], total: int, watcher: Watcher) -> dict[str, Any]:
    course, spent, begun = [], 0.0, time.process_time()
    with loop.training(rows[0]):
        for _ in islice(loop._steps(rows, SEED, total), total):
            if loop.log.steps % WATCHED and loop.log.steps != total:
                continue
            spent += time.process_time() - begun
            loop.model.eval()
            with loop._head.back():
                found = watcher.divergence(loop.model)
            loop.model.train()
            course.append([loop.log.answer_tokens, round(found, 5), round(spent, 2)])
            begun = time.process_time()
    return {"steps": total, "answer_tokens": loop.log.answer_tokens, "seconds": spent, "kl": course[-1][1], "course": course}


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    told = dict(word.split("=", 1) for word in sys.argv[3:])
    print(json.dumps(fit(Path(sys.argv[1]), float(sys.argv[2]), told or None)))
