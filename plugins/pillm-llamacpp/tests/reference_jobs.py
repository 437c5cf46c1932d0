"""The child of `students.reference`: the pinned converter, llama.cpp's LoRA converter and peft, each job in a fork of it."""

from __future__ import annotations

import json
import os
import runpy
import sys
import tarfile
import traceback
from pathlib import Path
from typing import Any

jobs, tree, archive = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2], sys.argv[3]
sys.path[:0] = [tree, f"{tree}/gguf-py"]

import conversion  # noqa: E402 - from the tree that was named
import peft  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from pillm_llamacpp.converting import driver, hooks  # noqa: E402

torch.set_num_threads(1)


def convert(job: dict[str, Any]) -> None:
    """Convert as the exporter's child does."""
    metadata = Path(job["to"]).with_suffix(".json")
    metadata.write_text(json.dumps({"general.name": "student"}))
    told = {
        "tree": tree, "model": job["convert"], "outfile": job["to"], "outtype": job["as"].lower(), "pre": None,
        "derived": "gpt-2", "stops": job["stops"], "keys": job["keys"], "metadata": str(metadata),
        "vocab_only": job.get("vocab_only", False),
    }  # fmt: skip
    driver.convert(told, hooks.Splits(None, strips=False), driver.Events())


def adapter(job: dict[str, Any]) -> None:
    """Save a random adapter with settings of peft."""
    torch.manual_seed(5)
    model = peft.get_peft_model(load(job["base"]), peft.LoraConfig(task_type="CAUSAL_LM", **job["adapter"]))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
        if "magnitude" in name:
            weight.data *= 1 + 0.1 * torch.rand_like(weight)
    model.peft_config["default"].base_model_name_or_path = job["base"]
    model.save_pretrained(job["to"])


def merge(job: dict[str, Any]) -> None:
    """Merge as people do, and save beside the merged weights what the base had."""
    model = peft.PeftModel.from_pretrained(load(job["base"]), job["merge"]).merge_and_unload()
    model.save_pretrained(job["to"])
    for path in Path(job["base"]).iterdir():
        if "safetensors" not in path.name:
            (Path(job["to"]) / path.name).write_bytes(path.read_bytes())


def lora(job: dict[str, Any]) -> None:
    """Convert an adapter alone with llama.cpp's own script, which the archive has beside the converter."""
    script = Path(job["to"]).with_name("convert_lora_to_gguf.py")
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name.endswith("vendor/llama.cpp/convert_lora_to_gguf.py"):
                script.write_bytes(tar.extractfile(member).read())
                break
    sys.argv = ["convert_lora_to_gguf.py", "--base", job["base"], "--outfile", job["to"], "--outtype", job["as"], job["lora"]]
    runpy.run_path(str(script), run_name="__main__")


def load(folder: str) -> Any:
    """Return a model as it is stored."""
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto", local_files_only=True)


for job in jobs:
    work = {"convert": convert, "adapter": adapter, "merge": merge, "lora": lora}[next(iter(job))]
    child = os.fork()
    if not child:
        try:
            work(job)
            os._exit(0)
        except BaseException as error:
            traceback.print_exc()
            os._exit(0 if isinstance(error, SystemExit) and not error.code else 1)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{job} failed")
assert conversion
