"""The training loop: AdamW, one optimiser step for each group of rows, loss weighted by answer tokens.

What a step does depends on the seed, the rows and the step's number alone, so that a training that was killed goes on from
its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pillm
from pillm_hf.losses.batches import Batch, collate, epoch, steps_per_epoch
from pillm_hf.losses.head import Head, split_off
from pillm_hf.losses.loss import inner_of, summed_loss
from pillm_hf.models.memory import most_bytes
from pillm_hf.rounding.finish import Finish
from pillm_hf.rows.text import Encoded
from pillm_hf.training.activations import kept_small
from pillm_hf.training.checkpoints import Checkpoints
from pillm_hf.training.processes import ALONE, Processes
from pillm_hf.training.saving import Saver
from pillm_hf.training.trainlog import Log
from pillm_hf.training.validating import is_best, validate

if TYPE_CHECKING:
    import torch

    from pillm_hf.distilling.teaching import Teaching
    from pillm_hf.options.finetuning import FineTuning

_EXPLODED = 3.0
"""A loss so many times what it was at first, or than guessing would have, is one that no step mends."""


class Loop:
    """Trains a model on encoded rows."""

    checkpointing = False
    """Whether activations are computed again in the backward pass instead of kept."""
    teaching: Teaching | None = None
    """What gives batches something to learn beside their labels."""
    finish: Finish | None = None
    """The last part, in which weights are rounded."""

    def __init__(
        self,
        model: Any,
        options: FineTuning,
        dtype: torch.dtype,
        pad_id: int,
        progress: pillm.Progress,
        processes: Processes = ALONE,
    ) -> None:
        self.model, self.options, self.dtype, self.pad_id, self.progress = model, options, dtype, pad_id, progress
        self.processes, self.log = processes, Log()
        self.optimizer = processes.optimizer(model, options, dtype)
        self._head: Head | None = None
        self._since = time.monotonic()

    def fit(self, train: list[Encoded], validation: list[Encoded], seed: int, checkpoints: Checkpoints) -> Log:
        """Train for the configured epochs, from the newest checkpoint on; the model is left with its best weights.

        Raises BackendError where the loss is not a number or explodes.
        """
        options = self.options
        sizes = options.per_device_train_batch_size, options.gradient_accumulation_steps
        total = steps_per_epoch(len(train), *sizes) * options.num_train_epochs
        self.optimizer.schedule(total)
        if self.finish:
            self.finish.schedule(total)
        saver = Saver(checkpoints, self.optimizer, options.save_steps, self.processes, self.finish)
        self.progress.start(total, "steps")
        if (found := saver.restore()) is not None:
            self.log = found
            self.progress.note(f"going on at step {self.log.steps} of {total}")
            self.progress.advance(self.log.steps)
        self._since = time.monotonic() - self.log.seconds
        with self.training(train[0]):
            for _ in self._steps(train, seed, total):
                if self._at_a_validation(validation):
                    self._validate(validation, saver)
                if self.log.stopped_early:
                    break
                saver.save_if_due(self.log)
        self.log.seconds = time.monotonic() - self._since
        saver.save(self.log)  # a kill while the student is merged costs no step
        if self.log.best and options.load_best_model_at_end:
            saver.take_best(self.log.best)
        return self.log

    def _steps(self, train: list[Encoded], seed: int, total: int) -> Iterator[None]:
        """Take the steps that are left, and yield after each."""
        options, log = self.options, self.log
        sizes = options.per_device_train_batch_size, options.gradient_accumulation_steps
        while log.epoch < options.num_train_epochs and not log.stopped_early:
            rng = random.Random(f"{seed}:{log.epoch}")  # noqa: S311 - an order, not a secret
            groups = list(epoch(train, *sizes, rng))
            for group in groups[log.group :]:
                self.processes.begin(seed, log.steps)
                self.step(group)
                log.seconds = time.monotonic() - self._since
                if self.finish and self.log.steps == self.finish.start:
                    # what is best with weights as they are need not be once they are rounded
                    self.log.best, self.log.stale = None, 0
                self._report(total)
                if log.group == len(groups):
                    log.epoch, log.group = log.epoch + 1, 0
                yield

    @contextmanager
    def training(self, sample: Encoded) -> Iterator[None]:
        """Put the model into training mode while the context lasts."""
        import torch
        from peft.helpers import disable_input_dtype_casting

        if self.checkpointing:
            _checkpoint_activations(self.model)
        parted: AbstractContextManager[Head | None] = nullcontext()
        if self.processes.splits_head:
            parted = split_off(self.model, self.dtype, collate([sample], self.pad_id))
        self.model.eval()
        with self._mixed():
            self._head = parted.__enter__()
        self.model.train()
        try:
            # autocast casts what an adapter reads; peft would cast it to float32 and autocast back again
            cast = disable_input_dtype_casting(self.model, active=self.dtype != torch.float32)
            with cast, nullcontext() if self.checkpointing else kept_small(self.model):
                yield
        finally:
            parted.__exit__(None, None, None)
            self.model.eval()

    def _mixed(self) -> AbstractContextManager[Any]:
        """Multiply in 16 bit where the model computes in 16 bit."""
        import torch

        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.model.device.type, self.dtype)

    @contextmanager
    def answering(self) -> Iterator[Any]:
        """Give the model as it answers, its output head in place, while the context lasts."""
        self.model.eval()
        with self._mixed(), self._head.back() if self._head else nullcontext():
            yield inner_of(self.model)
        self.model.train()

    def batch(self, rows: list[Encoded]) -> Batch:
        """Return rows as a batch, with what is learnt of them beside their labels."""
        batch = collate(rows, self.pad_id)
        return replace(batch, lesson=self.teaching.lesson(rows)) if self.teaching else batch

    def _rounded(self, *, exact: bool) -> AbstractContextManager[Any]:
        """Multiply with rounded weights where the training has come to that."""
        return self.finish.applied(self.log.steps, exact=exact) if self.finish else nullcontext()

    def _loss(self, batch: Batch) -> torch.Tensor:
        return self._head.summed_loss(self.model, batch) if self._head else summed_loss(self.model, batch)

    def step(self, group: list[list[Encoded]]) -> None:
        """Take one optimiser step on the mean loss over all answer tokens of the group's batches."""
        loss = guarded = 0.0
        with self._rounded(exact=False):
            group = self.teaching.rows(group, self.log.steps, self.answering) if self.teaching else group
            rows = [row for part in group for row in part]
            answer_tokens = sum(row.end - row.start for row in rows)
            parts = self.processes.share(group)
            for number, part in enumerate(parts, 1):
                batch = self.batch(part.rows)
                with self._mixed():
                    summed = self._loss(batch) * (self.processes.factor * part.counts)
                self.optimizer.backward(summed / answer_tokens, last=number == len(parts))
                loss += float(summed.detach())
                guarded += self._count_parts(batch, float(summed.detach()))
        loss, guarded = self.processes.sum(loss / self.processes.factor, guarded / self.processes.factor)
        norm = self.optimizer.norm()
        self._refuse_nonsense(loss / answer_tokens, norm, guarded / answer_tokens)
        self.optimizer.step()
        self.log.count(loss, answer_tokens, sum(len(row.ids) for row in rows))

    def _count_parts(self, batch: Batch, loss: float) -> float:
        """Return the part of a batch's loss that guessing bounds: the labels' cross-entropy; a divergence has no such bound."""
        if batch.lesson is None:
            return loss
        parts = batch.lesson.told()
        self.log.count_parts(parts)
        return parts.get("cross_entropy", (0.0, 0))[0]

    def _refuse_nonsense(self, loss: float, norm: float, guarded: float) -> None:
        """Raise BackendError before a step that would ruin the weights is taken, and before anything is saved."""
        steps, first = self.log.steps + 1, self.log.first_loss
        guessing = math.log(self.model.get_input_embeddings().num_embeddings)
        what = ""
        if not math.isfinite(loss):
            what = f"the loss is {loss}"
        elif not math.isfinite(norm) and not self.optimizer.scales:  # a scaler passes over such steps, and scales less
            what = f"the gradient's norm is {norm}"
        elif first is not None and guarded > _EXPLODED * max(first, guessing):
            what = f"the loss explodes: {guarded:.1f} nats, {first:.1f} at first"
        if what:
            raise pillm.BackendError(
                f"{what} at step {steps}; the step was not taken, and what was saved before it is kept. "
                "Lower learning_rate or max_grad_norm, or set dtype=float32, and train again."
            )

    def _report(self, total: int) -> None:
        """Report a step, with its figures where it is a logging step."""
        if self.log.steps % self.options.logging_steps and self.log.steps != total:
            self.progress.advance()
            return
        rate = self.optimizer.learning_rate
        entry = self.log.enter(learning_rate=rate, seconds=round(self.log.seconds, 3))
        of_labels = {"cross_entropy": entry["cross_entropy"]} if "cross_entropy" in entry else {}  # as validations measure
        self.progress.advance(
            1,
            loss=entry["loss"],
            **of_labels,
            tokens_per_second=self.log.tokens / max(self.log.seconds, 1e-9),
            learning_rate=rate,
            memory_gib=most_bytes(self.model.device.type) / 2**30,
        )

    def _at_a_validation(self, rows: list[Encoded]) -> bool:
        every = self.options.eval_steps
        return bool(rows) and (self.log.steps % every == 0 if every else self.log.group == 0)

    def _validate(self, rows: list[Encoded], saver: Saver) -> None:
        """Report how well the validation rows are foretold, keep the best weights, and stop early where that is wanted."""
        size = 2 * self.options.per_device_train_batch_size
        with self._rounded(exact=True), self._mixed():
            found = self.processes.told(validate(self.model, self._head, rows, self.pad_id, size, self.processes))
        self.log.validation.append({"epoch": self.log.epoch, "step": self.log.steps, **found})
        self.progress.advance(0, **found)
        final = not self.finish or self.finish.on(self.log.steps)
        if is_best(self.log, found["validation_loss"]) and self.options.load_best_model_at_end and final:
            saver.keep_best(self.log)
        patience = self.options.early_stopping_patience
        if patience and self.log.stale >= patience and final:
            self.log.stopped_early = True
            best = self.log.best or {}
            self.progress.note(f"stopped early: {self.log.stale} validations were no better than step {best.get('step')}")


def _checkpoint_activations(model: Any) -> None:
    """Compute activations again in the backward pass instead of keeping them."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    # transformers 5 renamed it, and warns of the old name
    enable = getattr(inner, "activation_checkpointing_enable", None) or inner.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    inner.enable_input_require_grads()
