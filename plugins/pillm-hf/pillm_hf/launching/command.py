"""The command that starts a training's processes through `accelerate launch`, and the files that it reads."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pillm_hf.options.finetuning import FineTuning
    from pillm_hf.options.launcher import Launcher

CONFIG, DEEPSPEED = "accelerate.yaml", "deepspeed.json"
CHILD = "pillm_hf.launching.child"
_PORT = 29500
_LOOPBACK = Path("/sys/class/net/lo")


def accelerate_config(launcher: Launcher, folder: Path, rank: int) -> dict[str, Any]:
    """Return the settings of `accelerate launch` on one of the machines."""
    # MULTI_CPU would need MPI to start more than one process; MULTI_GPU starts them with torch's own launcher, which
    # asks for no GPU. What a process computes on is settled in it.
    kind = "DEEPSPEED" if launcher.strategy == "deepspeed" else "MULTI_GPU"
    several = launcher.machines > 1
    settings: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": kind,
        "num_processes": launcher.processes,
        "num_machines": launcher.machines,
        "machine_rank": rank,
        "main_process_port": launcher.main_process_port or (_PORT if several else 0),  # 0: any that is free
        "rdzv_backend": "static",
        "same_network": True,
        "mixed_precision": "no",
        "use_cpu": False,
        "debug": False,
    }
    if several:
        settings["main_process_ip"] = launcher.main_process_ip
    if kind == "DEEPSPEED":
        config = {"deepspeed_config_file": str(folder / DEEPSPEED), "zero3_init_flag": False}
        settings["deepspeed_config"] = config | ({"deepspeed_multinode_launcher": "standard"} if several else {})
    return settings


def deepspeed_config(options: FineTuning) -> dict[str, Any]:
    """Return DeepSpeed's settings for a training; the optimiser itself is the one that pillm always uses."""
    launcher = options.launcher
    if launcher is None:
        raise ValueError("there is no launcher")
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": options.per_device_train_batch_size,
        "gradient_accumulation_steps": 1,  # a step's passes are counted and weighted here
        "gradient_clipping": options.max_grad_norm,
        "prescale_gradients": False,
        "zero_optimization": {"stage": launcher.zero_stage or 2, "overlap_comm": True, "contiguous_gradients": True},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 1_000_000_000,
    }
    return config


def environment(launcher: Launcher) -> dict[str, str]:
    """Return the variables that the processes are started with beside those that are there."""
    found = {"OMP_NUM_THREADS": str(launcher.threads or _threads(launcher.here)), "TOKENIZERS_PARALLELISM": "false"}
    if launcher.machines == 1:  # what they say to each other stays on this machine, and they meet in files
        found["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
        if _LOOPBACK.exists():
            found |= {name: "lo" for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME") if name not in os.environ}
    return found


def _threads(here: int) -> int:
    given = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(given) if given.isdigit() and int(given) else max(1, cores // here)


def argv(launcher: Launcher, folder: Path) -> list[str]:
    """Return the command that starts this machine's processes; `folder` holds what they are told.

    On one machine they meet in files, because torch's TCP store would listen on every address; accelerate takes that from
    the command alone.
    """
    meeting = ["--rdzv_backend", "c10d", "--rdzv_conf", "store_type=file"] if launcher.machines == 1 else []
    config = ["--config_file", str(folder / CONFIG)]
    return [sys.executable, "-m", "accelerate.commands.launch", *config, *meeting, "-m", CHILD, str(folder)]


def write(options: FineTuning, folder: Path) -> None:
    """Write the files that `argv` reads."""
    import yaml

    launcher = options.launcher
    if launcher is None:
        return
    settings = accelerate_config(launcher, folder, launcher.machine_rank)
    (folder / CONFIG).write_text(yaml.safe_dump(settings, sort_keys=False), "utf-8")
    if launcher.strategy == "deepspeed":
        (folder / DEEPSPEED).write_text(json.dumps(deepspeed_config(options), indent=2) + "\n", "utf-8")


def plan(options: FineTuning) -> str | None:
    """Return what `launch` would start, as text: each machine's command and the files that it reads; None without launcher."""
    import yaml

    launcher, place = options.launcher, Path("FOLDER")
    if launcher is None:
        return None
    lines = ["# pillm train starts this itself. FOLDER stands for a folder that it makes, with options and rows."]
    if launcher.machines > 1:
        ranks = f"0 to {launcher.machines - 1}"
        lines.append(
            f"# On each machine run the same pillm train, with an --out of its own and -o launcher.machine_rank={ranks}."
        )
    variables = [f"{name}={value}" for name, value in environment(launcher).items()]
    for rank in range(launcher.machines):
        on = f" on machine {rank}" if launcher.machines > 1 else ""
        settings = accelerate_config(launcher, place, rank)
        lines += ["", f"# command{on}", shlex.join([*variables, *argv(launcher, place)])]
        lines += ["", f"# {place / CONFIG}{on}", yaml.safe_dump(settings, sort_keys=False).rstrip()]
    if launcher.strategy == "deepspeed":
        lines += ["", f"# {place / DEEPSPEED}", json.dumps(deepspeed_config(options), indent=2)]
    return "\n".join(lines)
