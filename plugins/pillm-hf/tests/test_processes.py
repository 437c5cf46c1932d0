"""Two processes learn what one learns: the same losses and weights, saved whole, whatever each of them held."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pillm_hf import DoRA, Full, LoRA, QLoRA
from pillm_hf.launching import task
from pillm_hf.models.hub import locate
from pillm_hf.rows.opening import load_chat
from pillm_hf.rows.text import Encoded, encode
from pillm_hf.training import students
from pillm_hf.training.checkpoints import FOLDER
from pillm_hf.training.fitting import Work, fit
from pillm_hf.training.loop import Loop
from pillm_hf.training.optimizing import Optimizer
from pillm_hf.training.processes import ALONE, shares
from pillm_hf.training.replicas import Replicas
from pillm_hf.training.shards import Shards
from safetensors.torch import load_file, save_file

import pillm

FAST: dict[str, Any] = {
    "num_train_epochs": 2, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "learning_rate": 5e-3,
    "logging_steps": 1, "save_steps": 2, "eval_steps": 3, "dtype": "float32", "device_map": "cpu",
}  # fmt: skip
"""Twenty rows in groups of six: the last group of an epoch has two."""
KINDS: dict[str, type[Replicas]] = {"ddp": Replicas, "fsdp2": Shards}
NORMS: list[float] = []
Trainer = type[LoRA] | type[Full]


def work_of(trainer: Trainer, base: Path, data: pillm.TrainingData, out: Path, **options: Any) -> Work:
    made, chat = trainer(base=str(base), **FAST | options), load_chat(base)
    encoded = [encode(rows, data.contract, chat, made.max_length) for rows in (data.train, data.validation)]
    out.mkdir(exist_ok=True)
    return Work(
        options=made, source=locate(str(base)), folder=base, chat=chat, train=encoded[0], validation=encoded[1],
        seed=data.seed, out=out, facts={},
    )  # fmt: skip


def one_of(work: Work, kind: str, rank: int, count: int, kill_at: int) -> None:
    """Take part as one process; with `kill_at` the second one kills itself before that step."""
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    place = work.out.with_name(f"{work.out.name}-meeting-{kill_at}")
    torch.distributed.init_process_group("gloo", f"file://{place}", rank=rank, world_size=count)
    watch_norms()
    plain = Loop.step

    def step(self: Loop, group: Any) -> None:
        if rank == 1 and self.log.steps + 1 == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        plain(self, group)

    Loop.step = step  # type: ignore[method-assign]
    processes = KINDS[kind]()
    prepare, held = processes.prepare, {"weights": 0}

    def prepared(model: Any) -> None:
        prepare(model)
        held["weights"] = sum(getattr(part, "_local_tensor", part).numel() for part in model.parameters())

    processes.prepare = prepared  # type: ignore[method-assign]
    log, _ = fit(work, pillm.Progress(), processes)
    (work.out / f"held-{rank}.json").write_text(json.dumps(held), "utf-8")
    (work.out / f"log-{rank}.json").write_text(json.dumps(log.to_json() | {"norms": NORMS}), "utf-8")
    torch.distributed.destroy_process_group()


def watch_norms() -> None:
    """Keep each step's gradient norm: AdamW learns the same from gradients of any scale, and would hide a wrong one."""
    plain = Optimizer.norm

    def norm(self: Optimizer) -> float:
        NORMS.append(plain(self))
        return NORMS[-1]

    Optimizer.norm = norm  # type: ignore[method-assign]


def together(work: Work, kind: str, *, count: int = 2, kill_at: int = 0) -> list[int]:
    """Fit in so many processes, and return their exit codes."""
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=one_of, args=(work, kind, rank, count, kill_at)) for rank in range(count)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    return [int(process.exitcode or 0) for process in started]


def alone(work: Work) -> None:
    """Fit in one process, which is ended afterwards as the others are."""
    process = multiprocessing.get_context("fork").Process(target=one_alone, args=(work,))
    process.start()
    process.join()
    assert process.exitcode == 0


def one_alone(work: Work) -> None:
    watch_norms()
    log, _ = fit(work, pillm.Progress())
    (work.out / "log-0.json").write_text(json.dumps(log.to_json() | {"norms": NORMS}), "utf-8")


def learnt(work: Work) -> dict[str, torch.Tensor]:
    adapter = work.out / "adapter" / "adapter_model.safetensors"
    return load_file(adapter if adapter.is_file() else work.out / "trained-float32" / "model.safetensors")


def told(work: Work, rank: int = 0) -> dict[str, Any]:
    """Return what a process logged, without how long it took."""
    log: dict[str, Any] = json.loads((work.out / f"log-{rank}.json").read_text("utf-8"))
    del log["seconds"], log["best"]
    log["norms"] = log["norms"][-4:]  # a training that was taken up again knows only its own
    return {**log, "entries": [{name: value for name, value in each.items() if name != "seconds"} for each in log["entries"]]}


def close(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(close(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(close, one, other))
    return bool(one == pytest.approx(other, rel=1e-4, abs=1e-6)) if isinstance(one, float) else bool(one == other)


RANK, RATE = {"rank": 4}, {"learning_rate": 1e-3}
LIGHT = [(LoRA, "ddp", RANK), (Full, "fsdp2", RATE)]
HEAVY = [(LoRA, "fsdp2", RANK), (Full, "ddp", RATE), (DoRA, "fsdp2", RANK), (QLoRA, "ddp", RANK)]
HEAVY += [(LoRA, "fsdp2", RANK | {"gradient_checkpointing": True})]


@pytest.mark.parametrize(
    ("trainer", "kind", "options"), [*LIGHT, *(pytest.param(*case, marks=pytest.mark.full) for case in HEAVY)]
)
def test_two_processes_learn_what_one_learns(
    base: Path, data: pillm.TrainingData, tmp_path: Path, trainer: Trainer, kind: str, options: dict[str, Any]
) -> None:
    one = work_of(trainer, base, data, tmp_path / "one", **options)
    two = work_of(trainer, base, data, tmp_path / "two", **options)
    alone(one)
    assert together(two, kind) == [0, 0]
    assert close(told(one), told(two)), (told(one), told(two))
    assert told(two, 0) == told(two, 1)
    assert len(told(two)["entries"]) == 8
    held = [json.loads((two.out / f"held-{rank}.json").read_text("utf-8"))["weights"] for rank in (0, 1)]
    whole = sum(part.numel() for part in students.build(two.options, two.folder, print)[0].parameters())
    assert held == ([whole, whole] if kind == "ddp" else pytest.approx([whole / 2, whole / 2], rel=0.02))
    before, after = learnt(one), learnt(two)
    assert before.keys() == after.keys()
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("trainer", [LoRA, pytest.param(Full, marks=pytest.mark.full)])
def test_a_head_that_is_no_table_of_tokens_too_is_parted_and_learns_the_same(
    base: Path, data: pillm.TrainingData, tmp_path: Path, trainer: Trainer
) -> None:
    untied = shutil.copytree(base, tmp_path / "untied")
    settings = json.loads((untied / "config.json").read_text("utf-8")) | {"tie_word_embeddings": False}
    (untied / "config.json").write_text(json.dumps(settings), "utf-8")
    weights = load_file(untied / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].flip(0).contiguous()
    save_file(weights, untied / "model.safetensors", metadata={"format": "pt"})
    one, two = (work_of(trainer, untied, data, tmp_path / name, num_train_epochs=1) for name in ("one", "two"))
    alone(one)
    assert together(two, "fsdp2") == [0, 0]
    assert close(told(one), told(two))


@pytest.mark.full
def test_more_processes_than_a_group_has_rows_learn_the_same(base: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    one = work_of(LoRA, base, data, tmp_path / "one", rank=4)
    alone(one)
    for kind in KINDS:
        three = work_of(LoRA, base, data, tmp_path / kind, rank=4)
        assert together(three, kind, count=3) == [0, 0, 0]
        assert close(told(one), told(three)), kind


@pytest.mark.parametrize("kind", [pytest.param(one, marks=() if one == "ddp" else pytest.mark.full) for one in KINDS])
def test_after_a_killed_process_the_same_command_ends_with_the_same_bits(
    base: Path, data: pillm.TrainingData, tmp_path: Path, kind: str
) -> None:
    whole = work_of(LoRA, base, data, tmp_path / "whole", rank=4, dropout=0.1)
    assert together(whole, kind) == [0, 0]
    killed = work_of(LoRA, base, data, tmp_path / "killed", rank=4, dropout=0.1)
    codes = together(killed, kind, kill_at=6)
    assert codes[1] == -signal.SIGKILL
    assert codes[0] not in (0, -signal.SIGKILL)  # it lost the other, and did not end as if all were well
    assert sorted(place.name for place in (killed.out / FOLDER).glob("step-*"))[-1] == "step-4"
    assert together(killed, kind) == [0, 0]
    assert told(killed) == told(whole)
    assert all(torch.equal(learnt(killed)[name], weight) for name, weight in learnt(whole).items())


def test_a_checkpoint_of_two_processes_that_hold_parts_is_gone_on_from_by_one(
    base: Path, data: pillm.TrainingData, tmp_path: Path
) -> None:
    one = work_of(LoRA, base, data, tmp_path / "one", rank=4)
    alone(one)
    moved = work_of(LoRA, base, data, tmp_path / "moved", rank=4)
    together(moved, "fsdp2", kill_at=6)
    assert (moved.out / FOLDER / "step-4").is_dir()
    alone(moved)
    assert close(told(moved), told(one))


@pytest.mark.full
def test_it_stops_early_in_all_processes_and_ends_with_the_best_weights(
    base: Path, data: pillm.TrainingData, rows: Callable[..., pillm.Rows], pairs: list[Any], tmp_path: Path
) -> None:
    data = replace(data, validation=rows([(ask, "x" * 20) for ask, _ in pairs[:4]]))
    options = {"num_train_epochs": 40, "early_stopping_patience": 2, "learning_rate": 2e-2, "rank": 4}
    one = work_of(LoRA, base, data, tmp_path / "one", **options)
    alone(one)
    two = work_of(LoRA, base, data, tmp_path / "two", **options)
    assert together(two, "fsdp2") == [0, 0]
    assert told(two)["stopped_early"]
    assert told(two)["steps"] == told(one)["steps"] < 100
    for name, weight in learnt(one).items():
        torch.testing.assert_close(learnt(two)[name], weight, rtol=1e-2, atol=2e-3)


def test_processes_that_train_on_other_rows_are_refused(base: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    work = work_of(LoRA, base, data, tmp_path / "out")
    other = replace(work, train=replace(work.train, rows=work.train.rows[1:]))
    context = multiprocessing.get_context("fork")

    def refused(each: Work, rank: int) -> None:
        with pytest.raises(pillm.ConfigError, match="1 of 2 processes train with other rows"):
            one_of(each, "ddp", rank, 2, 0)

    started = [context.Process(target=refused, args=(each, rank)) for rank, each in enumerate((work, other))]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0, 0]
    assert not (work.out / FOLDER).exists()


def row(length: int, name: str = "") -> Encoded:
    return Encoded(name, (), "", [1] * length, 1, length)


GROUPS = st.lists(st.lists(st.integers(2, 60).map(row), min_size=1, max_size=5), min_size=1, max_size=6)


@settings(deadline=None)
@given(GROUPS, st.integers(1, 7))
def test_each_row_of_a_group_is_learnt_from_once_and_all_take_as_many_passes(group: list[list[Encoded]], count: int) -> None:
    shared = shares(group, count)
    assert len(shared) == count
    assert len({len(parts) for parts in shared}) == 1
    counted = [id(row) for parts in shared for part in parts if part.counts for row in part.rows]
    assert sorted(counted) == sorted(id(row) for rows in group for row in rows)
    size = max(len(rows) for rows in group)
    assert all(0 < len(part.rows) <= size for parts in shared for part in parts)


@settings(deadline=None)
@given(GROUPS, st.integers(1, 7))
def test_shares_differ_by_no_more_tokens_than_the_longest_row_has(group: list[list[Encoded]], count: int) -> None:
    tokens = [sum(len(row.ids) for part in parts if part.counts for row in part.rows) for parts in shares(group, count)]
    assert max(tokens) - min(tokens) <= max(len(row.ids) for rows in group for row in rows)


def test_a_process_alone_shares_nothing() -> None:
    group = [[row(3), row(5)], [row(4)]]
    assert [part.rows for part in ALONE.share(group)] == group
    assert all(part.counts for part in ALONE.share(group))
    assert (ALONE.sum(2.5, 1.0), ALONE.told({"a": 1}), ALONE.is_main, ALONE.writes) == ([2.5, 1.0], {"a": 1}, True, True)


def test_what_processes_are_told_is_read_back_as_it_was(base: Path, data: pillm.TrainingData, tmp_path: Path) -> None:
    options = {"rank": 4, "target_modules": ["q_proj"], "launcher": {"processes": 2}, "preset": "turing-safe"}
    work = work_of(LoRA, base, data, tmp_path / "out", load_in_4bit=False, **options)
    task.write(work, data, tmp_path)
    read = task.read(tmp_path)
    assert read.options == work.options
    assert read.train == work.train
    assert (read.source, read.seed, read.folder) == (work.source, work.seed, work.folder)
