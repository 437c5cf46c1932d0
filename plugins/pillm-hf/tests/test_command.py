"""What is written for `accelerate launch`, and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from pillm_hf import Full, LoRA
from pillm_hf.launching import command
from pillm_hf.options.launcher import Launcher

import pillm
from pillm.cli.program import main


def test_the_launch_is_printed_and_nothing_is_trained(
    base: Path, data: pillm.TrainingData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["train", str(data.train.path), "--trainer", "lora", "-o", f"base={base}", "--out", str(out), "--print-launch"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "-o", "launcher.processes=2"])
    assert not ended.value.code
    text = capsys.readouterr().out
    assert "-m accelerate.commands.launch --config_file FOLDER/accelerate.yaml --rdzv_backend c10d" in text
    assert "-m pillm_hf.launching.child FOLDER\n" in text
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
