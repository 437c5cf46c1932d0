"""Running out of memory: answers go on in smaller batches, a training says which options to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import HFTeacher, LoRA
from pillm_hf.answering.slots import Slots
from pillm_hf.models import memory
from pillm_hf.models.memory import is_out_of_memory, told

import pillm

RAN_OUT = [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    RuntimeError("not enough memory: you tried to allocate 9 bytes."),
    MemoryError(),
]


def answers(base: Path, requests: list[pillm.Request], **options: Any) -> dict[str, pillm.Answer | pillm.Failure]:
    made = HFTeacher(model=str(base), dtype="float32", max_new_tokens=6, **options)
    return {request.prompt.id: answer for request, answer in made.answer(iter(requests))}


def limit(monkeypatch: pytest.MonkeyPatch, rows: int, error: BaseException, *, after: int = 0) -> list[int]:
    """Let a forward pass of more than so many rows run out of memory; return the widths that were tried."""
    read, step, widths = Slots._pass, Slots.step, []

    def tried(width: int) -> None:
        widths.append(width)
        if width > rows and len(widths) > after:
            raise error

    def reading(self: Slots, first: int, rest: list[list[int]], start: int) -> None:
        tried(len(rest))
        read(self, first, rest, start)

    def stepping(self: Slots) -> torch.Tensor:
        tried(len(self.rows))
        return step(self)

    monkeypatch.setattr(Slots, "_pass", reading)
    monkeypatch.setattr(Slots, "step", stepping)
    return widths


@pytest.mark.parametrize("error", RAN_OUT)
@pytest.mark.parametrize("after", [0, 4])
def test_a_batch_that_does_not_fit_is_halved_and_every_row_is_answered_as_before(
    base: Path, requests: list[pillm.Request], monkeypatch: pytest.MonkeyPatch, error: BaseException, after: int
) -> None:
    options = {"batch_size": 16, "temperature": 1.0, "seed": 3}
    before = answers(base, requests, **options)
    widths = limit(monkeypatch, 4, error, after=after)
    got = answers(base, requests, **options)
    assert {name: answer.token_ids for name, answer in got.items()} == {name: one.token_ids for name, one in before.items()}
    assert max(widths) == 16
    assert max(widths[-10:]) <= 4


def test_a_row_that_does_not_fit_alone_fails_alone(
    base: Path, requests: list[pillm.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Slots._pass

    def small(self: Slots, first: int, rest: list[list[int]], start: int) -> None:
        if max(map(len, rest)) > 60:
            raise RAN_OUT[0]
        read(self, first, rest, start)

    monkeypatch.setattr(Slots, "_pass", small)
    long = pillm.Prompt(id="long", messages=({"role": "user", "content": "lac " * 40},))
    got = answers(base, [*requests[:5], pillm.Contract().request(long, {})], batch_size=4)
    assert [name for name, answer in got.items() if isinstance(answer, pillm.Failure)] == ["long"]
    assert "memory ran out" in got["long"].message
    assert len(got) == 6


def test_another_error_is_not_taken_for_a_lack_of_memory(
    base: Path, requests: list[pillm.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(monkeypatch, 4, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        answers(base, requests, batch_size=16)
    assert all(is_out_of_memory(error) for error in RAN_OUT)


@pytest.mark.parametrize("error", RAN_OUT)
def test_a_training_out_of_memory_says_which_options_to_change(
    base: Path, data: pillm.TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def short(*_: Any) -> None:
        raise error

    monkeypatch.setattr("pillm_hf.training.loop.Loop._loss", short)
    said = (
        r"per_device_train_batch_size=10; the step was not taken.*Set per_device_train_batch_size=5 and gradient_accumulation"
    )
    with pytest.raises(pillm.BackendError, match=said):
        LoRA(base=str(base), per_device_train_batch_size=10, gradient_accumulation_steps=2).train(
            data, tmp_path, pillm.Progress()
        )
    assert not (tmp_path / "adapter").exists()


def test_a_merge_out_of_memory_keeps_what_was_trained_and_the_same_command_goes_on_there(
    base: Path, data: pillm.TrainingData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: Any) -> None:
        raise RAN_OUT[0]

    seen: list[pillm.Event] = []
    trainer = LoRA(base=str(base), num_train_epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr("pillm_hf.training.students.merged", short)
        with pytest.raises(pillm.BackendError, match=r"while the student was merged.*is kept in .*adapter.*it goes on there"):
            trainer.train(data, tmp_path, pillm.Progress())
    assert (tmp_path / "adapter" / "adapter_model.safetensors").is_file()
    trainer.train(data, tmp_path, pillm.Progress("train", (seen.append,)))
    assert any("going on at step 3 of 3" in event.message for event in seen)


def test_only_a_lack_of_memory_is_told_as_one() -> None:
    with pytest.raises(pillm.BackendError, match="set less"), told(lambda: "set less"):
        raise MemoryError
    with pytest.raises(RuntimeError, match="other"), told(lambda: "set less"):
        raise RuntimeError("other")


def test_a_containers_limit_counts_and_its_cached_files_are_free(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert memory._containers_free(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._containers_free(tmp_path) is None
