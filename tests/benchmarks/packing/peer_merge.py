"""The peer's first step: peft merges the adapter into its base, and the folder is saved for the converter."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

base, adapter, out = map(Path, sys.argv[1:4])
with torch.inference_mode():
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto", local_files_only=True, low_cpu_mem_usage=True)
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
for path in base.iterdir():
    if path.suffix in (".json", ".jinja") and path.name != "config.json":
        shutil.copyfile(path, out / path.name)
