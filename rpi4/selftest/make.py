"""Make the files of the self-test anew: a small random Llama in Q4_K_M, a prompt, and what must follow it, greedily.

Its weights are random, so every product counts: a kernel that computes wrongly changes the words. Its prompt is the one of
many whose tokens all win clearly, so that the last bit of a sum changes none of them. Run it from the top of the repository.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from itertools import product
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import pillm

HERE = Path(__file__).parent
TOKENS, HIDDEN, LAYERS, KV = 32, 256, 2, 128
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = "the light of kitchen turns on at seven and rain falls over quiet hills while a small board reads every line".split()  # noqa: SIM905
TEMPLATE = (
    "{%- for message in messages -%}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor -%}"
    "{%- if add_generation_prompt -%}<|im_start|>assistant\n{% endif -%}"
)


def tokenizer() -> Tokenizer:
    """Return a byte-level tokenizer that knows the words whole."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=384, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([" ".join(WORDS), *(f" {word}" for word in WORDS)] * 20, trainer)
    return made


def weights(made: Tokenizer) -> dict[str, np.ndarray]:
    """Return random weights; only whole words can be said."""
    random, count = np.random.default_rng(4), made.get_vocab_size()

    def matrix(rows: int, columns: int, size: float = 0.09) -> np.ndarray:
        return (random.standard_normal((rows, columns)) * size).astype(np.float32)

    ones, head = np.ones(HIDDEN, np.float32), matrix(count, HIDDEN, 0.4)
    for token in range(count):
        if made.decode([token]).strip() not in WORDS:
            head[token] = 0
    found = {"model.embed_tokens.weight": matrix(count, HIDDEN, 0.4), "model.norm.weight": ones, "lm_head.weight": head}
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        found |= {f"{at}{name}_layernorm.weight": ones.copy() for name in ("input", "post_attention")}
        for name, rows in {"q": HIDDEN, "k": KV, "v": KV, "o": HIDDEN}.items():
            found[f"{at}self_attn.{name}_proj.weight"] = matrix(rows, HIDDEN)
        found |= {f"{at}mlp.{name}_proj.weight": matrix(HIDDEN, HIDDEN) for name in ("gate", "up", "down")}
    return found


def write_model(folder: Path) -> pillm.Checkpoint:
    """Write the model folder."""
    made = tokenizer()
    made.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SPECIALS[2], "pad_token": SPECIALS[0]}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": made.get_vocab_size(),
        "hidden_size": HIDDEN, "intermediate_size": HIDDEN, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
        "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0, "hidden_act": "silu", "torch_dtype": "float32",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }  # fmt: skip
    for name, value in {"tokenizer_config.json": settings, "config.json": config}.items():
        (folder / name).write_text(json.dumps(value))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    save_file(weights(made), str(folder / "model.safetensors"), {"format": "pt"})
    return pillm.Checkpoint(path=folder, name="selftest")


def margin(answer: pillm.Answer) -> float:
    """Return by how much, as a logarithm, the least certain token won."""
    return min(row[0][1] - row[1][1] for row in answer.logprobs or ())


def main() -> None:
    """Write tiny.gguf, prompt.txt and expected.txt."""
    with tempfile.TemporaryDirectory() as scratch:
        (model := Path(scratch) / "model").mkdir()
        exporter = pillm.exporter("gguf", quants="Q4_K_M", file_name="tiny", imatrix="off")
        (made,) = pillm.export(write_model(model), exporter, out=Path(scratch) / "export")
        asked = []
        for number, words in enumerate(product(WORDS, WORDS)):
            messages = ({"role": "user", "content": " ".join(words)},)
            asked.append(
                pillm.Request(key=f"{number}", prompt=pillm.Prompt(id=f"{number}", messages=messages), messages=messages)
            )
        with pillm.runner("local", max_tokens=TOKENS, logprobs=2).open(made) as session:
            said = [(request, answer) for request, answer in session.answer(iter(asked)) if isinstance(answer, pillm.Answer)]
        request, best = max(said, key=lambda pair: margin(pair[1]))
        sys.stdout.write(f"{request.prompt.text!r} wins by {margin(best):.2f}: {best.content!r}\n")
        prompt = f"<|im_start|>user\n{request.prompt.text}<|im_end|>\n<|im_start|>assistant\n"
        (HERE / "prompt.txt").write_bytes(prompt.encode())
        (HERE / "expected.txt").write_text(best.content + "\n", "utf-8")
        shutil.copyfile(made.path, HERE / "tiny.gguf")


if __name__ == "__main__":
    main()
