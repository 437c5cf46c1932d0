"""What llama.cpp keeps of layers that look back over a window, held against what a plan counts."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

import pillm
from pillm.devices.memory import cache_bytes
from pillm.devices.shapes import shape_of

HIDDEN, WIDE, LAYERS, HEAD, VOCABULARY, WINDOW = 64, 128, 12, 32, 96, 64
CONTEXT, BATCH = 2048, 128
MAKE = """
import sys
import llama_cpp.llama_cpp as llama
llama.llama_backend_init()
model = llama.llama_model_load_from_file(sys.argv[1].encode(), llama.llama_model_default_params())
params = llama.llama_context_default_params()
params.n_ctx, params.n_batch, params.n_ubatch, params.n_seq_max = 2048, 128, 128, 1
params.swa_full = sys.argv[2] == "full"
assert llama.llama_init_from_model(model, params)
"""


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a Gemma 3 of random weights: two of its twelve layers look at everything."""
    path = tmp_path_factory.mktemp("gemma") / "gemma.gguf"
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_context_length(4096)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDE)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_sliding_window(WINDOW)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"<{number}>" for number in range(VOCABULARY)])
    writer.add_token_merges(["< 1"])
    writer.add_token_types([int(gguf.TokenType.USER_DEFINED)] * VOCABULARY)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    sides = {
        "attn_q": (2 * HEAD, HIDDEN), "attn_k": (HEAD, HIDDEN), "attn_v": (HEAD, HIDDEN), "attn_output": (HIDDEN, 2 * HEAD),
        "ffn_gate": (WIDE, HIDDEN), "ffn_up": (WIDE, HIDDEN), "ffn_down": (HIDDEN, WIDE), "attn_norm": (HIDDEN,),
        "post_attention_norm": (HIDDEN,), "attn_k_norm": (HEAD,), "attn_q_norm": (HEAD,), "ffn_norm": (HIDDEN,),
        "post_ffw_norm": (HIDDEN,),
    }  # fmt: skip
    random = np.random.default_rng(0)
    tensors = {"token_embd": (VOCABULARY, HIDDEN), "output_norm": (HIDDEN,)}
    tensors |= {f"blk.{layer}.{name}": side for layer in range(LAYERS) for name, side in sides.items()}
    for name, side in tensors.items():
        writer.add_tensor(f"{name}.weight", random.standard_normal(side, np.float32) * 0.2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kept", ["cut", "full"])
def test_the_cache_of_windowed_layers_has_the_size_that_was_planned(gemma: Path, kept: str) -> None:
    said = subprocess.run([sys.executable, "-c", MAKE, str(gemma), kept], capture_output=True, text=True, check=True).stderr
    sizes = [float(size) for size in re.findall(r"llama_kv_cache: size = +([\d.]+) MiB", said)]
    board = replace(pillm.device("pi4-2gb"), ubatch=BATCH, swa_full=kept == "full")
    assert len(sizes) == 2, "layers with a window have a cache of their own"
    assert sum(sizes) * 2**20 == pytest.approx(cache_bytes(shape_of(gemma), board, CONTEXT), abs=0.01 * 2**20)


def test_runner_local_answers_alike_after_a_prompt_that_went_far_beyond_the_window(gemma: Path) -> None:
    model, runner = pillm.ModelFile.of(gemma, "F32"), pillm.runner("local", context=CONTEXT, parallel=1, max_tokens=8)
    start = "".join(f"<{number % VOCABULARY}>" for number in range(200))
    asked = [request(start + "".join(f"<{number % 7}>" for number in range(count))) for count in (1500, 5)]
    with runner.open(model) as session:
        _, after = [next(iter(session.answer(iter([one]))))[1] for one in asked]
    with runner.open(model) as session:
        ((_, alone),) = session.answer(iter(asked[1:]))
    assert isinstance(alone, pillm.Answer)
    assert isinstance(after, pillm.Answer)
    assert (after.content, after.logprobs) == (alone.content, alone.logprobs), "a beginning that was taken up again is whole"


def request(text: str) -> pillm.Request:
    """Return a question of that text."""
    prompt = pillm.Prompt(id=text[-40:], messages=({"role": "user", "content": text},))
    return pillm.Request(key=prompt.id, prompt=prompt, messages=prompt.messages)
