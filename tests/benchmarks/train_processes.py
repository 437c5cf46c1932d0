"""Tokens per second of two processes, ddp and fsdp2, against one on the same cores: LoRA, and all weights beside it.

For information: two processes on one machine's cores share what one had, so nothing can be won here. What is seen is what
summing gradients and gathering weights costs.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pillm
from tests.benchmarks.fitting import settings, student
from tests.benchmarks.harness import Result, alternating
from tests.benchmarks.loopback.peers import folder

LAYERS = 4
SIDES: dict[str, dict[str, Any]] = {
    "one": {"processes": 1, "threads": settings.THREADS},
    "ddp": {"processes": 2, "threads": max(1, settings.THREADS // 2)},
    "fsdp2": {"processes": 2, "threads": max(1, settings.THREADS // 2), "strategy": "fsdp2"},
}
SAME = 1e-3
"""Relative: of each step's loss to that of one process."""


class _Enough(BaseException):
    """Ends a run after its last step: merging and saving are not measured."""


class _Run:
    """Trains, reads the losses that the trainer reports and takes the time of its steps, and ends it after the last."""

    def __init__(self, trainer: str, model: Path, rows: Path, tokens: int) -> None:
        self._trainer, self._model, self._rows, self._tokens = trainer, model, rows, tokens
        self._expected: list[float] = []
        self._losses: list[float] = []
        self._begun = self._seconds = 0.0

    def __call__(self, side: str) -> Callable[[], float]:
        """Return what trains once and gives tokens per second; raise where the losses are not those of one process."""
        return lambda: self._take(side)

    def _take(self, side: str) -> float:
        self._losses = []
        self._train(SIDES[side])
        self._expected = self._expected or self._losses
        apart = [abs(one / other - 1) for one, other in zip(self._losses, self._expected, strict=True)]
        if max(apart) > SAME:
            raise AssertionError(f"{self._trainer} {side}: losses {self._losses}, of one process {self._expected}")
        return self._tokens / self._seconds

    def _train(self, launcher: dict[str, Any]) -> None:
        trainer = pillm.trainer(
            self._trainer,
            base=str(self._model),
            launcher=launcher,
            lr_scheduler_type="constant",
            num_train_epochs=1,
            per_device_train_batch_size=settings.BATCH,
            logging_steps=1,
            gradient_checkpointing=False,
        )
        with tempfile.TemporaryDirectory() as place:
            (nothing := Path(place) / "nothing.jsonl").touch()
            (out := Path(place) / "out").mkdir()
            none = pillm.Rows(nothing)
            data = pillm.TrainingData(train=pillm.Rows(self._rows), validation=none, calibration=none, seed=settings.SEED)
            try:
                trainer.train(data, out, pillm.Progress("train", (self._read,)))
            except _Enough:
                return
        raise RuntimeError("the trainer never said that its last step was done")

    def _read(self, event: pillm.Event) -> None:
        if event.kind == "start":
            self._begun = time.perf_counter()
        elif "loss" in event.figures:
            self._losses.append(event.figures["loss"])
            self._seconds = time.perf_counter() - self._begun
            if event.done == event.total:
                raise _Enough


def run(quick: bool) -> Iterator[Result]:
    """Train the same rows in turns; every run must find the losses of one process first."""
    rows, times = (16, 1) if quick else (48, 3)
    model = student.model_folder(LAYERS, folder().parent / "students")
    with tempfile.TemporaryDirectory() as place:
        timed = Path(place) / "rows.jsonl"
        tokens = student.write_rows(timed, rows, seed=7)
        for trainer in ("lora", "full"):
            taken = _Run(trainer, model, timed, tokens)
            rates = alternating({side: taken(side) for side in SIDES}, times)
            for side in ("ddp", "fsdp2"):
                yield Result(
                    benchmark=f"train-processes-{trainer}-{side}",
                    pillm=round(rates[side], 1),
                    peer=round(rates["one"], 1),
                    unit="tokens/s",
                    goal=None,  # for information
                    better="higher",
                    peer_is="one process with all the processor threads that the two share",
                    limit="the same cores, gradients summed or weights gathered over the loopback interface",
                    details={"threads": settings.THREADS, "layers": LAYERS, "rows": rows},
                )
