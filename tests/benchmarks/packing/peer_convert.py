"""The peer's second step: the converter as it is, but told which pre-tokenizer the student's tokenizer has."""

from __future__ import annotations

import runpy
import sys
from importlib import import_module

tree, model, outfile, outtype = sys.argv[1:5]
sys.path[:0] = [tree, f"{tree}/gguf-py"]
import_module("conversion.base").TextModel.get_vocab_base_pre = lambda *_: "gpt-2"
sys.argv = ["convert_hf_to_gguf.py", model, "--outfile", outfile, "--outtype", outtype]
runpy.run_path(f"{tree}/convert_hf_to_gguf.py", run_name="__main__")
