"""The peer's third step: what llama-quantize does, by the same library and with its own arguments."""

from __future__ import annotations

import sys

import llama_cpp.llama_cpp as llama

source, target, file_type, threads = sys.argv[1:5]
llama.llama_backend_init()
params = llama.llama_model_quantize_default_params()
params.ftype, params.nthread = int(file_type), int(threads)
sys.exit(llama.llama_model_quantize(source.encode(), target.encode(), params))
