"""When a training is saved, what of it, and how it is taken up again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pillm_hf.rounding.finish import Finish
from pillm_hf.training.checkpoints import Checkpoints
from pillm_hf.training.optimizing import Optimizer
from pillm_hf.training.processes import ALONE, Processes
from pillm_hf.training.trainlog import Log

if TYPE_CHECKING:
    import torch

_EVERY = 300.0  # seconds
_SHARE = 50
"""Saving takes no more than one part in so many of the time, however large the student is."""
_DRAWS = "rng:"


class Pace:
    """When it is time to save: every so many optimiser steps, or every five minutes where that is not given."""

    def __init__(self, save_steps: int | None) -> None:
        self._save_steps, self._pause = save_steps, _EVERY
        self._saved = time.monotonic()

    def due(self, steps: int) -> bool:
        """Say whether a checkpoint is due after so many steps."""
        return steps % self._save_steps == 0 if self._save_steps else time.monotonic() - self._saved > self._pause

    def begin(self) -> None:
        """Count anew: the training goes on only now."""
        self._saved = time.monotonic()

    def saved(self, begun: float) -> None:
        """Note that a checkpoint stands, whose saving began at that time of the monotonic clock."""
        self._saved = time.monotonic()
        self._pause = max(_EVERY, _SHARE * (self._saved - begun))


class Saver:
    """Saves a training every `save_steps` optimiser steps, or every five minutes where that is not given."""

    def __init__(
        self,
        checkpoints: Checkpoints,
        optimizer: Optimizer,
        save_steps: int | None,
        processes: Processes = ALONE,
        finish: Finish | None = None,
    ) -> None:
        self._checkpoints, self._optimizer, self._pace = checkpoints, optimizer, Pace(save_steps)
        self._processes, self._finish = processes, finish

    def restore(self) -> Log | None:
        """Take up the newest checkpoint that is whole, and return its log; None where there is none."""
        tensors, state = (self._checkpoints.newest() if self._processes.is_main else None) or (None, None)
        state = self._processes.told(state)
        if state is None:
            return None
        log = Log.from_json(state["log"])
        self._optimizer.load(self._processes.spread(tensors), log.steps, state["scale"])
        if tensors is not None:
            if self._finish:
                self._finish.load(tensors)
            _set_draws({name.removeprefix(_DRAWS): value for name, value in tensors.items() if name.startswith(_DRAWS)})
        return log

    def save_if_due(self, log: Log) -> None:
        """Save where it is time to."""
        if self._processes.told(self._pace.due(log.steps)):  # clocks differ
            self.save(log)

    def save(self, log: Log) -> None:
        """Write a checkpoint; all processes gather what they hold, and the main one writes."""
        begun = time.monotonic()
        tensors = {**self._optimizer.tensors(), **{_DRAWS + name: value for name, value in _draws().items()}}
        if self._finish:
            tensors |= self._finish.tensors()
        best = log.best if log.best and "file" in log.best else None
        state = {"log": log.to_json(), "scale": self._optimizer.scale(), "best": best}
        if self._processes.is_main:
            self._checkpoints.save(log.steps, tensors, state)
        self._pace.saved(begun)

    def keep_best(self, log: Log) -> None:
        """Keep the weights as the best so far, and a checkpoint that knows of them."""
        weights = self._optimizer.weights()
        kept = self._checkpoints.save_best(log.steps, weights) if self._processes.is_main else {}
        log.best = {**(log.best or {}), **self._processes.told(kept)}
        self.save(log)

    def take_best(self, best: dict[str, Any]) -> None:
        """Put the best weights in the place of the last."""
        if "file" in best and best["step"] != self._optimizer.steps:
            found = self._checkpoints.best(best) if self._processes.is_main else None
            self._optimizer.load_weights(self._processes.spread(found))


def _draws() -> dict[str, torch.Tensor]:
    """Return the state of torch's random numbers on every device."""
    import torch

    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), **{f"cuda:{number}": state for number, state in enumerate(gpus)}}


def _set_draws(states: dict[str, torch.Tensor]) -> None:
    import torch

    torch.set_rng_state(states["cpu"])
    for name, state in states.items():
        if name.startswith("cuda:") and int(name[5:]) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, int(name[5:]))
