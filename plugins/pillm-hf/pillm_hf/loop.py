"""The training loop: AdamW, one optimiser step for each group of rows, loss weighted by answer tokens."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pillm
from pillm_hf.batches import Batch, collate, epoch, steps_per_epoch
from pillm_hf.loss import summed_loss
from pillm_hf.memory import told
from pillm_hf.text import Encoded

if TYPE_CHECKING:
    import torch

    from pillm_hf.trainer import FineTuning


@dataclass(slots=True)
class Log:
    """What happened: the loss at each logging step, and the sums."""

    entries: list[dict[str, float]] = field(default_factory=list)
    validation: list[dict[str, float]] = field(default_factory=list)
    steps: int = 0
    tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0


class Loop:
    """Trains a model on encoded rows."""

    def __init__(self, model: Any, options: FineTuning, dtype: torch.dtype, pad_id: int, progress: pillm.Progress) -> None:
        import torch

        self.model, self.options, self.dtype, self.pad_id, self.progress = model, options, dtype, pad_id, progress
        self.learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
        groups = _groups(model, getattr(options, "embedding_learning_rate", None))
        self.optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, weight_decay=options.weight_decay, fused=True)
        # float16 gradients underflow without scaling; bfloat16 has float32's range
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=dtype == torch.float16)
        self.log = Log()
        self._loss = self._tokens = 0.0

    def fit(self, train: list[Encoded], validation: list[Encoded], seed: int) -> Log:
        """Train for the configured epochs; raise BackendError where memory runs out or the loss is not a number."""
        options = self.options
        sizes = options.per_device_train_batch_size, options.gradient_accumulation_steps
        total = steps_per_epoch(len(train), *sizes) * options.num_train_epochs
        schedule = self._schedule(total)
        rng = random.Random(seed)  # noqa: S311 - an order, not a secret
        self.progress.start(total, "steps")
        begun = time.monotonic()
        with told(*sizes), self._training():
            for number in range(1, options.num_train_epochs + 1):
                for group in epoch(train, *sizes, rng):
                    self._step([collate(rows, self.pad_id) for rows in group])
                    schedule.step()
                    self._report(total, schedule.get_last_lr()[0], begun)
                self._validate(validation, number)
        self.log.seconds = time.monotonic() - begun
        return self.log

    def _schedule(self, total: int) -> Any:
        from transformers import get_scheduler

        warmup = math.ceil(self.options.warmup_ratio * total)
        return get_scheduler(self.options.lr_scheduler_type, self.optimizer, warmup, total)

    @contextmanager
    def _training(self) -> Iterator[None]:
        """Put the model into training mode while the context lasts."""
        import torch
        from peft.helpers import disable_input_dtype_casting

        if self.options.gradient_checkpointing:
            _checkpoint_activations(self.model)
        self.model.train()
        # autocast casts what an adapter reads; peft would cast it to float32 and autocast back again
        with disable_input_dtype_casting(self.model, active=self.dtype != torch.float32):
            yield
        self.model.eval()

    def _mixed(self) -> AbstractContextManager[Any]:
        """Multiply in 16 bit where the model computes in 16 bit."""
        import torch

        if self.dtype == torch.float32:
            return nullcontext()
        return torch.autocast(self.model.device.type, self.dtype)

    def _step(self, batches: list[Batch]) -> None:
        """Take one optimiser step on the mean loss over all answer tokens of the batches."""
        import torch

        answer_tokens = sum(batch.answer_tokens for batch in batches)
        for batch in batches:
            with self._mixed():
                loss = summed_loss(self.model, batch) / answer_tokens
            self.scaler.scale(loss).backward()
            self._loss += loss.detach() * answer_tokens
        self._tokens += answer_tokens
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.learnt, self.options.max_grad_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.log.steps += 1
        self.log.answer_tokens += answer_tokens
        self.log.tokens += sum(batch.tokens for batch in batches)

    def _report(self, total: int, learning_rate: float, begun: float) -> None:
        if self.log.steps % self.options.logging_steps and self.log.steps != total:
            return
        loss = float(self._loss) / self._tokens
        if not math.isfinite(loss):
            raise pillm.BackendError(
                f"the loss is {loss} at step {self.log.steps} of {total}; nothing was saved. "
                "Lower learning_rate or max_grad_norm, or set dtype=float32, and train again."
            )
        entry = {"step": self.log.steps, "loss": loss, "learning_rate": learning_rate}
        self.log.entries.append({**entry, "seconds": round(time.monotonic() - begun, 3)})
        speed = self.log.tokens / max(time.monotonic() - begun, 1e-9)
        done = self.log.steps - (self.log.entries[-2]["step"] if len(self.log.entries) > 1 else 0)
        self.progress.advance(int(done), loss=loss, tokens_per_second=speed, learning_rate=learning_rate)
        self._loss = self._tokens = 0.0

    def _validate(self, rows: list[Encoded], number: int) -> None:
        """Report the mean loss per answer token over the validation rows."""
        import torch

        if not rows:
            return
        self.model.eval()
        ordered = sorted(rows, key=lambda row: len(row.ids))
        size = self.options.per_device_train_batch_size * 2
        summed, tokens = 0.0, 0
        with torch.no_grad(), self._mixed():
            for begin in range(0, len(ordered), size):
                batch = collate(ordered[begin : begin + size], self.pad_id)
                summed += float(summed_loss(self.model, batch))
                tokens += batch.answer_tokens
        self.model.train()
        loss = summed / tokens
        self.log.validation.append({"epoch": number, "step": self.log.steps, "validation_loss": loss})
        self.progress.advance(0, validation_loss=loss)


def _groups(model: Any, embedding_rate: float | None) -> list[dict[str, Any]]:
    """Return what is learnt, the tables of tokens apart where they have a learning rate of their own."""
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if embedding_rate is None:
        return [{"params": learnt}]
    layers = (model.get_input_embeddings(), model.get_output_embeddings())
    tables = {id(layer.weight) for layer in layers if layer is not None}
    return [
        {"params": [parameter for parameter in learnt if id(parameter) not in tables]},
        {"params": [parameter for parameter in learnt if id(parameter) in tables], "lr": embedding_rate},
    ]


def _checkpoint_activations(model: Any) -> None:
    """Compute activations again in the backward pass instead of keeping them."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    # transformers 5 renamed it, and warns of the old name
    enable = getattr(inner, "activation_checkpointing_enable", None) or inner.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    inner.enable_input_require_grads()
