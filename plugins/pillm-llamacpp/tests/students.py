"""Small random students of each family, made without torch, and what the pinned converter and peft make of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from pillm_llamacpp import source
from pillm_llamacpp.writing.writer import Writing, write
from pillm_llamacpp_tiny import TEMPLATE, train_tokenizer

import pillm

HIDDEN, HEADS, ANSWERING, WIDTH, INNER, LAYERS = 128, 4, 2, 32, 192, 2
PLAIN = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
STOPS = ("<|im_end|>",)
OWN_KEYS = {"pillm.version": "test"}
FAMILIES: dict[str, dict[str, Any]] = {
    # each with something that no other has: an old configuration, shards, an odd type, a wide vocabulary
    "llama": {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "rope_theta": 500000.0, "tie_word_embeddings": True,
        "attention_bias": True,
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 64},
    },
    "mistral": {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": None, **PLAIN},
    "smollm3": {"architectures": ["SmolLM3ForCausalLM"], "model_type": "smollm3", "tie_word_embeddings": True},
    "granite": {
        "architectures": ["GraniteForCausalLM"], "model_type": "granite", "attention_multiplier": 0.25,
        "embedding_multiplier": 12.0, "residual_multiplier": 0.5, "logits_scaling": 8.0, **PLAIN,
    },
    "qwen2": {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "vocab_size": 9000, "tie_word_embeddings": True,
              "rope_theta": 1000000.0},
    "qwen3": {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 48, "rope_scaling": {
        "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128, "beta_fast": 16.0}},
    "olmo2": {"architectures": ["Olmo2ForCausalLM"], "model_type": "olmo2", **PLAIN},
    "gemma2": {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "head_dim": 32, "sliding_window": 64,
               "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "tie_word_embeddings": True},
    "gemma3": {"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "head_dim": 32, "sliding_window": 64,
               "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0, "vocab_size": 420, "tie_word_embeddings": True},
    "phi3": {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "rope_theta": 10000.0, "pad_token_id": 0,
             "original_max_position_embeddings": 256},
}  # fmt: skip
DTYPES = {"mistral": "F16", "qwen3": "F32", "olmo2": "F16", "gemma3": "F16"}
"""How each family's weights are stored; BF16 where it is not said."""
SHARDED = ("llama", "granite")
SENTENCEPIECE = ("gemma2", "phi3")
ASKED = (*SENTENCEPIECE, "gemma3")
"""Of which families the converter writes the metadata."""
Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"


def write_student(folder: Path, family: str, *, seed: int = 3) -> Path:
    """Write a model folder of a family; the same arguments give the same bytes."""
    folder.mkdir(parents=True)
    tokenizer = train_tokenizer()
    config = {
        "vocab_size": tokenizer.get_vocab_size(), "hidden_size": HIDDEN, "intermediate_size": INNER,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": ANSWERING,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "tie_word_embeddings": False, "bos_token_id": None,
        "eos_token_id": 2, "hidden_act": "silu", **FAMILIES[family],
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"temperature": 0.7, "top_k": 20, "eos_token_id": 2}))
    settings: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>"}
    if family in SENTENCEPIECE:
        _write_sentencepiece(folder, config["vocab_size"])
        settings = {"tokenizer_class": "LlamaTokenizer", "eos_token": "</s>", "bos_token": "<s>"}
    else:
        tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    _save(folder, _tensors(family, config, np.random.default_rng(seed)), DTYPES.get(family, "BF16"), family in SHARDED)
    return folder


def _write_sentencepiece(folder: Path, size: int) -> None:
    import sentencepiece

    (folder / "text.txt").write_text("".join(f"the light {number} is on in room {number * 7}\n" for number in range(300)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "tokenizer"), vocab_size=size, model_type="bpe",
        byte_fallback=True, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip


def _tensors(family: str, config: dict[str, Any], random: np.random.Generator) -> dict[str, np.ndarray]:
    width = config.get("head_dim", WIDTH)

    def matrix(rows: int, columns: int) -> np.ndarray:
        # a few values below what float16 holds exactly, and whole blocks of zeros
        made = random.standard_normal((rows, columns)) * 0.08
        return np.where(random.random((rows, columns)) < 0.05, made * 1e-6, made).astype(np.float32)

    def norm(size: int) -> np.ndarray:
        return (1 + 0.1 * random.standard_normal(size)).astype(np.float32)

    found = {"model.embed_tokens.weight": matrix(config["vocab_size"], HIDDEN), "model.norm.weight": norm(HIDDEN)}
    if not config["tie_word_embeddings"]:
        found["lm_head.weight"] = matrix(config["vocab_size"], HIDDEN)
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        rows = {"q": HEADS * width, "k": ANSWERING * width, "v": ANSWERING * width}
        if family == "phi3":
            found[f"{at}self_attn.qkv_proj.weight"] = matrix(sum(rows.values()), HIDDEN)
            found[f"{at}mlp.gate_up_proj.weight"] = matrix(2 * INNER, HIDDEN)
        else:
            found |= {f"{at}self_attn.{name}_proj.weight": matrix(size, HIDDEN) for name, size in rows.items()}
            found |= {f"{at}mlp.{name}_proj.weight": matrix(INNER, HIDDEN) for name in ("gate", "up")}
        if family in ("qwen2", "llama"):
            found |= {f"{at}self_attn.{name}_proj.bias": norm(size) for name, size in rows.items()}
        if family == "llama":
            found[f"{at}self_attn.o_proj.bias"] = norm(HIDDEN)
        if family in ("qwen3", "olmo2", "gemma3"):
            of = rows if family == "olmo2" else {"q": width, "k": width}
            found |= {f"{at}self_attn.{name}_norm.weight": norm(of[name]) for name in ("q", "k")}
        found[f"{at}self_attn.o_proj.weight"] = matrix(HIDDEN, HEADS * width)
        found[f"{at}mlp.down_proj.weight"] = matrix(HIDDEN, INNER)
        norms = ["input_layernorm", "post_attention_layernorm"]
        if family in ("olmo2", "gemma2", "gemma3"):
            norms = ["post_attention_layernorm", "post_feedforward_layernorm"]
        if family in ("gemma2", "gemma3"):
            norms += ["input_layernorm", "pre_feedforward_layernorm"]
        found |= {f"{at}{name}.weight": norm(HIDDEN) for name in norms}
    return found


def _save(folder: Path, found: dict[str, np.ndarray], dtype: str, sharded: bool) -> None:
    names = sorted(found)
    cuts = [names[::2], names[1::2]] if sharded else [names]
    where: dict[str, str] = {}
    for number, cut in enumerate(cuts, 1):
        name = f"model-{number:05}-of-{len(cuts):05}.safetensors" if sharded else "model.safetensors"
        save_as({name: found[name] for name in cut}, folder / name, dtype)
        where |= dict.fromkeys(cut, name)
    if sharded:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def save_as(found: dict[str, np.ndarray], path: Path, dtype: str) -> None:
    """Write float32 arrays as a stored type; safetensors' own numpy door knows no BF16."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, values in found.items():
        kept = {"F32": values, "F16": values.astype(np.float16), "BF16": (values.view(np.uint32) >> 16).astype(np.uint16)}[
            dtype
        ]
        header[name] = {"dtype": dtype, "shape": values.shape, "data_offsets": [len(data), len(data) + kept.nbytes]}
        data += kept.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def write_adapter(
    folder: Path, base: Path | str, weights: dict[str, np.ndarray] | None = None, **more: Any
) -> pillm.Checkpoint:
    """Write a small adapter that fits the tiny model of 256 wide rows."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(4)
    found = {
        f"{Q_PROJ}.lora_A.weight": random.standard_normal((4, 256)).astype(np.float32) * 0.1,
        f"{Q_PROJ}.lora_B.weight": random.standard_normal((256, 4)).astype(np.float32) * 0.1,
    }
    save_as({**found, **(weights or {})}, folder / "adapter_model.safetensors", "F32")
    told = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps({**told, "base_model_name_or_path": str(base), **more}))
    return pillm.Checkpoint(path=folder)


def written(folder: Path, out: Path, kinds: tuple[str, ...] = ("F16",), **more: Any) -> dict[str, Path]:
    """Return the files that the writer makes of a model folder."""
    out.mkdir(parents=True, exist_ok=True)
    told = {"texts": str(folder), "weights": str(folder), "derived": "gpt-2", "stops": STOPS, "keys": OWN_KEYS, **more}
    files = {kind: out / f"{kind}.gguf" for kind in kinds}
    write(Writing(tree=str(source.require()), metadata={"general.name": "student"}, **told), files, pillm.Progress())
    return files


def reference(jobs: list[dict[str, Any]], work: Path) -> None:
    """Let the pinned converter and peft do jobs in one child process, where torch is loaded once.

    A job is {"convert": folder, "to": file, "as": type, "vocab_only": bool} or {"merge": adapter, "base": folder,
    "to": folder} or {"adapter": {settings}, "base": folder, "to": folder} or {"lora": adapter, "base": folder, "to": file}.
    """
    work.mkdir(parents=True, exist_ok=True)
    (work / "jobs.json").write_text(json.dumps(jobs))
    script, told = Path(__file__).with_name("reference_jobs.py"), (work / "jobs.json", source.require(), source.archive_path())
    done = subprocess.run([sys.executable, "-P", str(script), *map(str, told)], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-3000:]


def contents(path: Path) -> tuple[dict[str, Any], dict[str, tuple[str, tuple[int, ...], bytes]]]:
    """Return a GGUF's keys and its tensors (type, shape, bytes), both in the file's order."""
    from gguf import GGUFReader

    reader = GGUFReader(path)
    keys = {name: (str(field.types[0]), field.contents()) for name, field in reader.fields.items() if "GGUF." not in name}
    tensors = {
        tensor.name: (tensor.tensor_type.name, tuple(int(size) for size in tensor.shape), tensor.data.tobytes())
        for tensor in reader.tensors
    }
    return keys, tensors
