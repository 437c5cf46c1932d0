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
import yaml
from pillm_hf import Full, LoRA, QLoRA
from pillm_hf.launching import command, launch, messages
from pillm_hf.models.loading import load_model
from pillm_hf.trainers import launcher
from pillm_hf.trainers.launcher import Launcher, require_gpus
from pillm_hf.training.checkpoints import FOLDER
from pydantic import ValidationError

import pillm
from pillm.cli.program import main

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


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_write_the_student_that_one_writes(
    base: Path, one: tuple[Path, pillm.TrainingData], tmp_path: Path, strategy: str
) -> None:
    expected, data = one
    seen: list[pillm.Event] = []
    log = train(base, data, tmp_path / "out", seen.append, launcher={"processes": 2, "strategy": strategy})
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


def test_the_first_error_is_the_one_of_the_first_process(tmp_path: Path) -> None:
    assert messages.read_error(tmp_path) is None
    messages.write_error(tmp_path, 10, pillm.DataError("ten"))
    messages.write_error(tmp_path, 2, pillm.BackendError("two"))
    error = messages.read_error(tmp_path)
    assert (type(error), str(error)) == (pillm.BackendError, "two")


def test_events_are_handed_on_as_they_were(tmp_path: Path) -> None:
    seen: list[pillm.Event] = []
    relay = messages.Relay(tmp_path, pillm.Progress("here", (seen.append,)))
    relay.catch_up()
    progress = messages.event_writer(tmp_path)
    progress.start(7, "steps")
    progress.advance(3, loss=1.5)
    relay.catch_up()
    progress.advance(2, loss=1.25)
    progress.warn("mind")
    with (tmp_path / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"kind": "no')  # an event of which only the beginning is written yet
    relay.catch_up()
    kinds = [(event.kind, event.done, event.total, event.figures, event.message) for event in seen]
    assert kinds == [
        ("start", 0, 7, {}, ""),
        ("advance", 3, 7, {"loss": 1.5}, ""),
        ("advance", 5, 7, {"loss": 1.25}, ""),
        ("warning", 5, 7, {}, "mind"),
    ]
    assert {event.stage for event in seen} == {"here"}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"processes": 0}, "greater than or equal to 1"),
        ({"processes": 3, "machines": 2, "main_process_ip": "a"}, "shared out evenly over 2 machines"),
        ({"processes": 2, "machines": 2}, "several machines need main_process_ip"),
        ({"processes": 2, "machine_rank": 1}, "none of 1 machines"),
        ({"processes": 2, "main_process_ip": "a"}, "only counts with several machines"),
        ({"processes": 2, "zero_stage": 2}, "only counts with strategy=deepspeed"),
        ({"processes": 2, "main_process_port": 70000}, "less than or equal to 65535"),
        ({"processes": 2, "backend": "gloo"}, "Extra inputs are not permitted"),
    ],
)
def test_a_launcher_without_sense_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Launcher(**options)


@pytest.mark.parametrize(
    ("trainer", "options", "why"),
    [
        (QLoRA, {"launcher": {"processes": 2, "strategy": "fsdp2"}}, "a base in 4 bit cannot be parted"),
        (LoRA, {"launcher": {"processes": 2}, "device_map": "auto"}, "each process has a GPU of its own"),
        (LoRA, {"launcher": {"processes": 2, "strategy": "fsdp2"}, "dtype": "float16"}, "float16"),
    ],
)
def test_options_that_do_not_go_with_several_processes_are_refused(trainer: Any, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        trainer(base="nano-base", **options)
    assert QLoRA(base="nano-base", launcher={"processes": 2}).launcher == Launcher(processes=2)


def test_how_many_processes_train_is_no_part_of_the_key(base: Path) -> None:
    assert LoRA(base=str(base), launcher={"processes": 2}).identity() == LoRA(base=str(base)).identity()


def test_gpus_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    require_gpus(Launcher(processes=2), None)
    with pytest.raises(pillm.ConfigError, match="torch can use 0"):
        require_gpus(Launcher(processes=2), "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(pillm.ConfigError, match="2 processes on this machine need a GPU each, and torch can use 1"):
        require_gpus(Launcher(processes=2), None)
    require_gpus(Launcher(processes=2, machines=2, main_process_ip="a"), None)
    require_gpus(Launcher(processes=2), "cpu")


def test_deepspeed_that_is_not_installed_is_told_with_what_to_use_instead(
    base: Path, one: tuple[Path, pillm.TrainingData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher, "find_spec", lambda _: None)
    asked = {"launcher": {"processes": 2, "strategy": "deepspeed"}}
    with pytest.raises(pillm.MissingDependency, match=r"pip install deepspeed.*strategy=fsdp2"):
        train(base, one[1], tmp_path / "out", **asked)
    with pytest.raises(pillm.MissingDependency):
        LoRA(base=str(base), **asked).check()


def test_the_launch_is_printed_and_nothing_is_trained(
    base: Path, one: tuple[Path, pillm.TrainingData], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["train", str(one[1].train.path), "--trainer", "lora", "-o", f"base={base}", "--out", str(out), "--print-launch"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "-o", "launcher.processes=2"])
    assert not ended.value.code
    text = capsys.readouterr().out
    assert "-m accelerate.commands.launch --config_file FOLDER/accelerate.yaml -m pillm_hf.launching.child FOLDER" in text
    config = yaml.safe_load(text.partition("# FOLDER/accelerate.yaml\n")[2])
    assert config == command.accelerate_config(Launcher(processes=2), Path("FOLDER"), 0)
    assert not out.exists()


def test_several_machines_are_shown_what_each_runs(base: Path) -> None:
    asked = {"processes": 4, "machines": 2, "main_process_ip": "10.0.0.5", "strategy": "deepspeed", "zero_stage": 3}
    text = Full(base=str(base), launcher=asked).launch_plan()
    assert text
    assert "launcher.machine_rank=0 to 1" in text
    for rank in (0, 1):
        config = yaml.safe_load(text.partition(f"# FOLDER/accelerate.yaml on machine {rank}\n")[2].partition("\n\n")[0])
        assert (config["machine_rank"], config["num_machines"], config["main_process_ip"]) == (rank, 2, "10.0.0.5")
    assert json.loads(text.partition("# FOLDER/deepspeed.json\n")[2])["zero_optimization"]["stage"] == 3


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", "deepspeed"])
@pytest.mark.parametrize("machines", [1, 2])
def test_accelerate_knows_every_setting_that_is_written(base: Path, tmp_path: Path, strategy: str, machines: int) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    more = {"machines": machines, "main_process_ip": "10.0.0.5"} if machines > 1 else {}
    command.write(LoRA(base=str(base), launcher={"processes": 4, "strategy": strategy, **more}), tmp_path)
    read = load_config_from_file(str(tmp_path / command.CONFIG))
    assert (read.num_processes, read.num_machines, read.main_process_port) == (4, machines, 29500 if machines > 1 else 0)


def test_the_documented_memory_follows_the_documented_formulas() -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "train-on-several-processes.md").read_text("utf-8")
    shapes = {"0.5 B": (494.03e6, 896, 128, 4864, 24), "1.5 B": (1543.7e6, 1536, 256, 8960, 28)}
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")]
    told = [line for line in lines if line[0] in shapes]
    assert len(told) == 10
    for name, what, count, *figures in told:
        p, hidden, kv, inner, layers = shapes[name]
        n, t = int(count), 151_936 * hidden
        one, a = (p - t) / layers, 16 * (4 * hidden + 2 * (hidden + kv) + 3 * (hidden + inner)) * layers
        if what == "LoRA":
            held = [
                2 * p + 16 * a,
                (2 * p + 16 * a) / n + 2 * (t + one),
                2 * p + 4 * a + 16 * a / n,
                2 * p / n + 20 * a / n + 2 * (t + one),
            ]
        else:
            held = [18 * p, 16 * p / n + 6 * (t + one), 6 * p + 16 * p / n, 20 * p / n + 6 * (t + one)]
        assert figures == [f"{each / 2**30:.1f}" for each in held], (name, what, count)
