"""Label the rows of the model that counts down: with teacher `hf`, and with transformers' own two ways."""

from __future__ import annotations

import gc
import importlib.metadata
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import pillm
from tests.benchmarks.countdown.model import COUNTS, Row, expected, write_model
from tests.benchmarks.harness import Result, alternating

SLOTS = 128  # what teacher `hf` chooses for a model of this size


@contextmanager
def model() -> Iterator[Path]:
    """Give the model's folder, with one thread and no chatter."""
    import torch

    for name in ("transformers", "pillm_hf"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)  # for all alike: two threads beside other work wait for each other, whoever asks them
    with tempfile.TemporaryDirectory() as place:
        yield write_model(Path(place))


class Ours:
    """Teacher `hf` with its defaults."""

    def __init__(self, folder: Path) -> None:
        self._teacher = pillm.teacher("hf", model=str(folder), max_new_tokens=COUNTS)
        self._open = self._teacher.open()
        self._open.__enter__()

    def answer(self, rows: Sequence[Row]) -> list[list[int]]:
        asked = []
        for number, (text, _) in enumerate(rows):
            prompt = pillm.Prompt(id=str(number), messages=({"role": "user", "content": text},))
            asked.append(pillm.Request(key=prompt.id, prompt=prompt, messages=prompt.messages))
        found = {request.key: getattr(answer, "token_ids", answer) for request, answer in self._teacher.answer(iter(asked))}
        return [list(found[request.key]) for request in asked]


class Pipeline:
    """transformers' pipeline, in the order of the file."""

    IS = "transformers pipeline(batch_size=16), in file order"

    def __init__(self, folder: Path) -> None:
        from transformers import pipeline

        self._pipe = pipeline("text-generation", model=str(folder), dtype=_dtype(), device=_device())

    def answer(self, rows: Sequence[Row]) -> list[list[int]]:
        said = self._pipe(
            [text for text, _ in rows], batch_size=16, do_sample=False, max_new_tokens=COUNTS, return_tensors=True
        )
        sizes = [len(text.split()) for text, _ in rows]
        return [_cut([token for token in one[0]["generated_token_ids"] if token][size:])
                for one, size in zip(said, sizes, strict=True)]  # fmt: skip


class GenerateBatch:
    """transformers' own continuous batching, its cache capped: by default it would take most of the memory."""

    IS = "transformers generate_batch, its cache capped at 128 rows of the longest answer"

    def __init__(self, folder: Path, longest: int) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=_dtype()).to(_device()).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        self._asked = GenerationConfig(max_new_tokens=COUNTS, do_sample=False, eos_token_id=1, pad_token_id=0)
        self._blocks = 128 * (longest + 64) // 32

    def answer(self, rows: Sequence[Row]) -> list[list[int]]:
        from transformers import ContinuousBatchingConfig

        cap = ContinuousBatchingConfig(page_size=32, num_blocks=self._blocks, max_batch_tokens=1024)
        ids = [self._tokenizer(text)["input_ids"] for text, _ in rows]
        said = self._model.generate_batch(
            inputs=ids, generation_config=self._asked, continuous_batching_config=cap, progress_bar=False
        )
        return [list(one.generated_tokens) for one in said.values()]


def _cut(ids: list[int]) -> list[int]:
    return ids[: ids.index(1) + 1] if 1 in ids else ids


def timed(ours: Any, theirs: Any, rows: Sequence[Row], times: int) -> dict[str, float]:
    def timer(subject: Any) -> Callable[[], float]:
        asked = rows[:16]  # the first round warms up

        def take() -> float:
            nonlocal asked
            gc.collect()
            began = perf_counter()
            got = subject.answer(asked)
            taken = perf_counter() - began
            wrong = [found for found, (_, length) in zip(got, asked, strict=True) if found != expected(length)]
            if wrong:
                raise AssertionError(f"{type(subject).__name__}: {len(wrong)} of {len(asked)} answers are not the right tokens")
            speed, asked = len(asked) / taken, rows
            return speed

        return take

    return alternating({"pillm": timer(ours), "peer": timer(theirs)}, times)


def refill_limit(rows: Sequence[Row]) -> str:
    lengths = [length for _, length in rows]
    full = sum(lengths) / SLOTS
    ideal = max(max(lengths), full)
    static = sum(max(lengths[start : start + 16]) for start in range(0, len(lengths), 16))
    return (
        f"steps: {static} in whole batches of 16, at least {ideal:.0f} in {SLOTS} slots (mean length "
        f"{sum(lengths) / len(lengths):.0f}, longest {max(lengths)}); a step of more rows costs more"
    )


def result_of(name: str, goal: float, medians: dict[str, float], rows: Sequence[Row], said: tuple[str, str]) -> Result:
    """Return the figure; `said` is what the peer is, and what bounds both."""
    peer, limit = said
    return Result(
        benchmark=name, pillm=round(medians["pillm"], 3), peer=round(medians["peer"], 3), unit="labels/s", goal=goal,
        better="higher", peer_is=peer, limit=limit,
        versions={package: importlib.metadata.version(package) for package in ("torch", "transformers")},
        details={"rows": len(rows), "dtype": str(_dtype()).removeprefix("torch."), "threads": 1},
    )  # fmt: skip


def _dtype() -> Any:
    from pillm_hf.models.precision import choose_dtype

    return choose_dtype("auto", _device())


def _device() -> str:
    from pillm_hf.models.precision import default_device

    return default_device()
