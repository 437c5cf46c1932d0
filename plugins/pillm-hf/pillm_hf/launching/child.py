"""One of a training's processes: python -m pillm_hf.launching.child FOLDER, started by `launch` through accelerate."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pillm
from pillm_hf.launching import messages, task

if TYPE_CHECKING:
    from pillm_hf.options.finetuning import FineTuning
    from pillm_hf.training.processes import Processes

MEETING = "meeting"
"""The file in which the processes of one machine find each other."""


def main(folder: Path) -> int:
    """Take part in the training that a folder describes; return the exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    rank = int(os.environ["RANK"])
    try:
        _take_part(folder)
    except pillm.PillmError as error:
        messages.write_error(folder, rank, error)
        return error.exit_code
    return 0


def _end_with_parent() -> None:
    """End this process at once where the one that started it all is gone: nobody waits for the work, and the next may begin."""
    while os.read(0, 1):
        pass
    os._exit(1)


def _take_part(folder: Path) -> None:
    from torch import distributed

    from pillm_hf.models.quantizing import import_bitsandbytes

    import_bitsandbytes()
    work = task.read(folder)
    from pillm_hf.training.fitting import fit

    device = _join(work.options, folder)
    processes = _processes(work.options)
    work = replace(work, options=work.options.model_copy(update={"device_map": device}))
    progress = messages.event_writer(folder) if processes.writes else pillm.Progress()
    log, facts = fit(work, progress, processes)
    if processes.writes:
        messages.write_result(folder, {"log": log.to_json(), "facts": facts})
    distributed.barrier()
    distributed.destroy_process_group()


def _join(options: FineTuning, folder: Path) -> str:
    """Join the other processes, and return the device that this one computes on."""
    import torch

    local, several = int(os.environ["LOCAL_RANK"]), options.launcher is not None and options.launcher.machines > 1
    meeting: dict[str, Any] = {}
    if not several:
        rank, world_size = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
        meeting = {"init_method": f"file://{folder / MEETING}", "rank": rank, "world_size": world_size}
    if options.device_map != "cpu" and torch.cuda.is_available():
        torch.cuda.set_device(local)
        torch.distributed.init_process_group("cpu:gloo,cuda:nccl", **meeting)
        return f"cuda:{local}"
    torch.distributed.init_process_group("gloo", **meeting)
    return "cpu"


def _processes(options: FineTuning) -> Processes:
    from pillm_hf.training.replicas import Replicas
    from pillm_hf.training.shards import Shards
    from pillm_hf.training.zero import Zero

    launcher = options.launcher
    if launcher is not None and launcher.strategy == "deepspeed":
        return Zero(launcher.zero_stage or 2)
    return Shards() if launcher is not None and launcher.strategy == "fsdp2" else Replicas()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
