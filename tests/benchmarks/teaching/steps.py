"""Time steps with and without stored distributions, in turns: python -m tests.benchmarks.teaching.steps MODEL ROWS TIMES.

Both kinds of step are taken on the same rows by the same loop, in one process, so that a busy moment hits both alike.
"""

from __future__ import annotations

import json
import logging
import math
import random
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pillm_hf.distilling import preparing
from pillm_hf.distilling.targetcache import TargetCache
from pillm_hf.distilling.targets import Vocabulary
from pillm_hf.losses.batches import epoch
from pillm_hf.rows.chat import Chat
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import Encoded, encode
from pillm_hf.training import students
from pillm_hf.training.loop import Loop

import pillm
from tests.benchmarks.fitting import settings, student

K = 32
SAME = 1e-3  # relative: with nothing of the divergence the loss is the labels' own


def stored(examples: list[pillm.Example], chat: Chat) -> list[pillm.Example]:
    """Return examples as a teacher that is sure of its words leaves them: its token first, then 31 others, ever less likely."""
    draw, made = random.Random(5), []
    for example in examples:
        ids = (*chat.encode([example.answer.content])[0], chat.end_of_turn.id)
        places = []
        for token in ids:
            others = draw.sample(range(300, student.VOCABULARY), K - 1)
            sure = draw.uniform(0.3, 0.95)
            shares = [(1 - sure) * 0.5**rank for rank in range(1, K)]
            places.append(tuple(zip((token, *others), (math.log(share) for share in (sure, *shares)), strict=True)))
        answer = replace(example.answer, token_ids=ids, logprobs=tuple(places), tokenizer_hash=chat.tokenizer_hash)
        made.append(replace(example, answer=answer))
    return made


def measure(folder: Path, rows: Path, times: int) -> dict[str, Any]:
    """Return the median seconds of both kinds of step, and the bytes of cache for each token."""
    chat, examples = load_chat(folder), pillm.read_examples(rows)
    encoded = encode(examples, pillm.Contract(), chat, student.MOST + 8).rows
    options = {"rank": settings.RANK, "alpha": settings.ALPHA, "per_device_train_batch_size": settings.BATCH}
    trainer = pillm.trainer("lora", base=str(folder), distill={"k": K}, **options)
    data = pillm.TrainingData(
        train=pillm.Rows(rows), validation=pillm.Rows(rows), calibration=pillm.Rows(rows), stored=stored(examples, chat)
    )
    torch.manual_seed(0)
    model, dtype = students.build(trainer, folder, lambda _: None)
    with tempfile.TemporaryDirectory() as place:
        course = preparing.Course(trainer, data, chat, encoded, 0)
        taught = preparing.prepare(course, model, dtype, Path(place), pillm.Progress())
        loop = Loop(model, trainer, dtype, chat.pad_id, pillm.Progress())
        loop.optimizer.schedule(10 * times)
        with loop.training(encoded[0]):
            _require_same(loop, taught.teaching, encoded[: settings.BATCH])
            seconds = _in_turns(loop, taught.teaching, encoded, times)
        path = Path(place) / preparing.FOLDER / "targets.bin"
        cache = TargetCache(path, Vocabulary(chat.tokenizer_hash, student.VOCABULARY))
        return {**seconds, "bytes_per_token": cache.bytes_per_token, "positions": cache.positions, "dtype": str(dtype)}


def _require_same(loop: Loop, teaching: Any, rows: list[Encoded]) -> None:
    """Raise where the labels' loss is another one once something could be learnt beside it."""
    found = {}
    for weight in (None, 0.0, 0.5):
        loop.teaching = teaching if weight is not None else None
        if weight is not None:
            teaching.options = teaching.options.model_copy(update={"weight": weight})
        batch = loop.batch(rows)
        with torch.no_grad(), loop._mixed():
            found[weight] = float(loop._loss(batch)) / batch.answer_tokens
    if abs(found[0.0] / found[None] - 1) > SAME or abs(found[0.5] / found[None] - 1) < SAME:
        raise AssertionError(f"without the divergence the loss must be the labels', and with it another: {found}")


def _in_turns(loop: Loop, teaching: Any, rows: list[Encoded], times: int) -> dict[str, float]:
    """Return the median seconds of a step of each kind; every group of rows is learnt in both ways, one after the other."""
    taken: dict[str, list[float]] = {"sft": [], "kd": []}
    busy: dict[str, list[float]] = {"sft": [], "kd": []}
    groups = list(epoch(rows, settings.BATCH, 1, random.Random(0)))
    for number in range(-1, times):
        for name in ("sft", "kd") if number % 2 else ("kd", "sft"):
            loop.teaching = teaching if name == "kd" else None
            begun, worked = time.perf_counter(), time.process_time()
            loop.step(groups[number % len(groups)])
            if number >= 0:
                taken[name].append(time.perf_counter() - begun)
                busy[name].append(time.process_time() - worked)
    return {
        **{name: statistics.median(each) for name, each in taken.items()},
        "cpu_seconds_ratio": statistics.median(kd / sft for kd, sft in zip(busy["kd"], busy["sft"], strict=True)),
    }


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    torch.set_num_threads(int(sys.argv[4]) if len(sys.argv) > 4 else settings.THREADS)
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
