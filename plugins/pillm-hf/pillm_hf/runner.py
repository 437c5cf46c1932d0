"""The runner `hf`: answers from a checkpoint folder, so that a student is scored before it is exported."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, ClassVar

import pillm
from pillm_hf.answering.answers import Answerer, Result
from pillm_hf.answering.generation import Generation
from pillm_hf.models.loading import load_adapted, settled_dtype
from pillm_hf.models.quantizing import quantization
from pillm_hf.rows.opening import chat_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class HFRunner(Generation, pillm.Runner):
    """Answers from a checkpoint folder with transformers on this machine."""

    name: ClassVar[str] = "hf"
    reads: ClassVar[frozenset[str]] = frozenset({"checkpoint"})
    capabilities: ClassVar[frozenset[str]] = frozenset({"answer", "bench", "embed", "grammar"})

    def open(self, model: pillm.ModelFile | pillm.Checkpoint) -> HFSession:
        """Load a checkpoint; raise DataError where the folder is none and ConfigError for a model file."""
        if not isinstance(model, pillm.Checkpoint):
            raise pillm.ConfigError(f"runner 'hf' reads checkpoint folders, not {model.path.name}. Use runner 'local'.")
        chat = chat_of(model.path)
        dtype = settled_dtype(self.dtype, self.device_map)
        weights = load_adapted(model.path, dtype, device_map=self.device_map, quantization=quantization(self.load_in, dtype))
        return HFSession(Answerer(weights, chat, model.label), self)


class HFSession(pillm.Session):
    """A checkpoint in memory."""

    def __init__(self, answerer: Answerer, runner: HFRunner) -> None:
        self._answerer: Answerer | None = answerer
        self._runner = runner
        self._sampling = runner.sampling()

    @property
    def _open(self) -> Answerer:
        if self._answerer is None:
            raise pillm.BackendError("the session is closed. Open the checkpoint again.")
        return self._answerer

    def answer(self, requests: Iterator[pillm.Request]) -> Iterator[Result]:
        """Yield each request with its answer or failure, in any order."""
        yield from self._open.answer(requests, self._sampling, self._runner.load())

    def embed(self, texts: Iterable[str]) -> Iterator[tuple[float, ...]]:
        """Yield for each text the mean of the last layer's hidden states over its tokens, not normalised.

        Raises DataError for an empty text and for one with more tokens than the model has positions.
        """
        import torch

        model = self._open.model
        most = getattr(model.config, "max_position_embeddings", None)
        for text in texts:
            ids = self._open.chat.tokenizer(text, return_tensors="pt")["input_ids"].to(model.device)
            if ids.shape[1] == 0:
                raise pillm.DataError("an empty text has no embedding. Leave empty texts out.")
            if most and ids.shape[1] > most:
                raise pillm.DataError(
                    f"a text of {ids.shape[1]} tokens is longer than the model's {most} positions. Shorten it or leave it out."
                )
            with torch.inference_mode():
                states = model.base_model(input_ids=ids).last_hidden_state
            yield tuple(states[0].float().mean(0).tolist())

    def bench(self, plan: pillm.BenchPlan) -> pillm.Benchmark:
        """Time the prefill of `plan.pp` tokens and the decoding of `plan.tg`, one row, in tokens per second (medians)."""
        import torch

        model = self._open.model
        before = torch.get_num_threads()
        torch.set_num_threads(plan.threads or before)
        try:
            _timed(model, min(8, plan.pp), 2)  # the first call pays for kernels and memory once
            runs = [_timed(model, plan.pp, plan.tg) for _ in range(plan.repetitions)]
            threads = torch.get_num_threads()
        finally:
            torch.set_num_threads(before)
        prefill, decode = ([run[place] for run in runs] for place in (0, 1))
        return pillm.Benchmark(
            model=self._open.name,
            device=str(model.device),
            basis="measured",
            pp_tps=round(statistics.median(plan.pp / seconds for seconds in prefill), 2),
            tg_tps=round(statistics.median(plan.tg / seconds for seconds in decode), 2),
            pp=plan.pp,
            tg=plan.tg,
            threads=threads,
            repetitions=plan.repetitions,
            ttft_ms=round(statistics.median(prefill) * 1000, 2),
            samples={
                "pp_tps": [plan.pp / seconds for seconds in prefill],
                "tg_tps": [plan.tg / seconds for seconds in decode],
            },
            details={"runner": "hf", "dtype": str(model.dtype).removeprefix("torch."), "torch": torch.__version__},
            at=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def close(self) -> None:
        """Let go of the model."""
        self._answerer = None


def _timed(model: PreTrainedModel, pp: int, tg: int) -> tuple[float, float]:
    """Return the seconds of one prefill and of the decoding after it."""
    import torch
    from transformers import DynamicCache

    vocabulary = model.get_input_embeddings().num_embeddings
    ids = (torch.arange(pp) * 7919 % vocabulary).unsqueeze(0).to(model.device)
    cache = DynamicCache(config=model.config)
    with torch.inference_mode():
        start = _now(model)
        token = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1:].argmax(-1)
        middle = _now(model)
        for _ in range(tg):
            token = model(input_ids=token, past_key_values=cache, use_cache=True).logits[:, -1:].argmax(-1)
        return middle - start, _now(model) - middle


def _now(model: PreTrainedModel) -> float:
    import torch

    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
