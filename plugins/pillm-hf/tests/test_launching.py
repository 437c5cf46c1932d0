"""Several processes through `accelerate launch`: started, watched, ended, and one student comes of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from pillm_hf import LoRA
from pillm_hf.launching import launch
from pillm_hf.models.loading import load_model
from pillm_hf.training.checkpoints import FOLDER

import pillm

psutil = pytest.importorskip("psutil")  # accelerate brings it
FAST: dict[str, Any] = {
    "num_train_epochs": 2, "per_device_train_batch_size": 5, "gradient_accumulation_steps": 2, "learning_rate": 5e-3,
    "rank": 4, "logging_steps": 1, "save_steps": 1, "dtype": "float32", "device_map": "cpu",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _one_thread_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def train(base: Path, data: pillm.TrainingData, out: Path, read: Any = None, **options: Any) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    trainer = LoRA(base=str(base), **FAST | options)
    trainer.train(data, out, pillm.Progress("train", (read,) if read else ()))
    log: dict[str, Any] = json.loads((out / "training.json").read_text("utf-8"))
    return log


def ranks(folder: Path) -> dict[int, int]:
    """Return the ids of the processes that take part in a training, by rank."""
    found = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            variables = dict(line.partition(b"=")[::2] for line in (place / "environ").read_bytes().split(b"\0"))
        except OSError:
            continue
        if str(folder / launch.FOLDER).encode() in words and b"RANK" in variables:
            found[int(variables[b"RANK"])] = int(place.name)
    return found


def gone(folder: Path) -> bool:
    """Wait until no process takes part in a training any more."""
    until = time.monotonic() + 30
    while ranks(folder):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture(scope="module")
def one(base: Path, tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> tuple[Path, pillm.TrainingData]:
    """Return what one process made, and the rows it had."""
    folder = tmp_path_factory.mktemp("one")
    talk = [{"id": f"r{n}", "user": ask, "assistant": told} for n, (ask, told) in enumerate(pairs)]
    for name, rows in (("train", talk), ("few", talk[:4])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    few = pillm.Rows(folder / "few.jsonl")
    data = pillm.TrainingData(train=pillm.Rows(folder / "train.jsonl"), validation=few, calibration=few, seed=3)
    train(base, data, folder / "out")
    return folder / "out", data


@pytest.mark.parametrize("strategy", ["ddp", pytest.param("fsdp2", marks=pytest.mark.full)])
def test_two_processes_write_the_student_that_one_writes_and_listen_on_no_other_address(
    base: Path, one: tuple[Path, pillm.TrainingData], tmp_path: Path, strategy: str
) -> None:
    expected, data = one
    seen: list[pillm.Event] = []
    listening: set[str] = set()
    looked: set[int] = set()

    def look(event: pillm.Event) -> None:
        seen.append(event)
        if event.kind == "advance":
            for process in psutil.Process().children(recursive=True):
                looked.add(process.pid)
                open_sockets = process.net_connections("inet")
                listening.update(socket.laddr.ip for socket in open_sockets if socket.status == psutil.CONN_LISTEN)

    log = train(base, data, tmp_path / "out", look, launcher={"processes": 2, "strategy": strategy})
    assert len(looked) >= 3  # torch's launcher and the two
    assert listening <= {"127.0.0.1", "::1"}
    before = json.loads((expected / "training.json").read_text("utf-8"))
    assert [entry["loss"] for entry in log["log"]] == pytest.approx([entry["loss"] for entry in before["log"]], rel=1e-4)
    for name in ("validation_loss", "validation_accuracy"):
        assert [each[name] for each in log["validation"]] == pytest.approx(
            [each[name] for each in before["validation"]], rel=1e-4
        )
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in expected.iterdir()}
    merged, alone = (load_model(folder, torch.float32) for folder in (tmp_path / "out", expected))
    for name, weight in alone.named_parameters():
        torch.testing.assert_close(merged.get_parameter(name), weight, rtol=2**-7, atol=1e-3)
    start = next(event for event in seen if event.kind == "start")
    advances = [event for event in seen if event.kind == "advance"]
    assert (start.total, start.unit, advances[-1].done) == (4, "steps", 4)
    assert sum("validation_loss" in event.figures for event in advances) == 2


@pytest.mark.full
def test_after_one_process_was_killed_the_rest_end_and_the_same_command_goes_on(
    base: Path, one: tuple[Path, pillm.TrainingData], tmp_path: Path
) -> None:
    _, data = one
    out = tmp_path / "out"
    options = {"launcher": {"processes": 2}, "num_train_epochs": 300, "learning_rate": 1e-4}
    killed: list[int] = []

    def kill(event: pillm.Event) -> None:
        if event.kind == "advance" and event.done >= 3 and not killed:
            killed.append(ranks(out)[1])
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(pillm.BackendError, match=r"process 1 of the training was ended by SIGKILL.*the same command goes on"):
        train(base, data, out, kill, **options)
    assert killed
    assert gone(out)
    newest = max(int(place.name[5:]) for place in (out / FOLDER).glob("step-*"))
    assert 2 <= newest < 600
    notes: list[str] = []

    def stop(event: pillm.Event) -> None:
        notes.append(event.message)
        if event.kind == "advance" and event.done > newest:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(base, data, out, stop, **options)
    assert f"going on at step {newest} of 600" in notes
    assert gone(out)  # Ctrl-C ended them all


@pytest.mark.full
def test_processes_end_with_the_one_that_started_them_even_if_it_is_killed(
    base: Path, one: tuple[Path, pillm.TrainingData], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_launching as t; t.in_a_process_of_its_own(*sys.argv[2:])"
    words = [sys.executable, "-c", code, str(Path(__file__).parent), str(base), str(one[1].train.path), str(out)]
    parent = subprocess.Popen(words)
    try:
        until = time.monotonic() + 120
        while not (out / FOLDER / "step-2").is_dir():
            assert parent.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        assert sorted(ranks(out)) == [0, 1]
    finally:
        parent.kill()
        parent.wait()
    assert gone(out)


def in_a_process_of_its_own(base: str, rows: str, out: str) -> None:
    made = pillm.Rows(Path(rows))
    data = pillm.TrainingData(train=made, validation=made, calibration=made)
    train(Path(base), data, Path(out), num_train_epochs=1000, launcher={"processes": 2})


@pytest.mark.full
def test_two_machines_end_with_the_same_student_each(base: Path, one: tuple[Path, pillm.TrainingData], tmp_path: Path) -> None:
    expected, data = one
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"processes": 2, "machines": 2, "main_process_ip": "127.0.0.1", "main_process_port": port}
    failed: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            train(base, data, tmp_path / f"{rank}", launcher={**common, "machine_rank": rank})
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    made = [(tmp_path / rank / "model.safetensors").read_bytes() for rank in ("0", "1")]
    assert made[0] == made[1]
    losses = [
        json.loads((folder / "training.json").read_text("utf-8"))["log"][-1]["loss"] for folder in (expected, tmp_path / "1")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.full
def test_an_error_of_a_process_keeps_its_kind_and_its_words(
    base: Path, one: tuple[Path, pillm.TrainingData], tmp_path: Path
) -> None:
    with pytest.raises(pillm.ConfigError, match="no_such_layer"):
        train(base, one[1], tmp_path / "out", target_modules=["no_such_layer"], launcher={"processes": 2})


def test_a_process_that_fails_without_an_error_of_ours_is_told_with_its_own_last_lines(tmp_path: Path) -> None:
    output = """[rank0]: RuntimeError: Connection closed by peer
[rank1]: Traceback (most recent call last):
[rank1]: ZeroDivisionError: division by zero
Failures:
[0]:
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 7)  (SIGTERM)
Root Cause (first observed failure):
[1]:
  rank      : 1 (local_rank: 1)
  exitcode  : 1 (pid: 8)
"""
    (tmp_path / "output.log").write_text(output, "utf-8")
    text = str(launch._ended(tmp_path, 1))
    assert "process 1 of the training ended with exit code 1" in text
    assert text.endswith("[rank1]: ZeroDivisionError: division by zero")
    assert "closed by peer" not in text
    (tmp_path / "output.log").write_text("no such module", "utf-8")
    assert str(launch._ended(tmp_path, 2)).endswith("no such module")
