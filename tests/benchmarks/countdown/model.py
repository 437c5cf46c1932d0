"""A model with random weights whose head counts down: after the token n7 it says n6, then n5, and stops after n1.

So the last word of a prompt sets the length of its answer, for every library alike and at no cost, and the right tokens are
known beforehand.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

COUNTS, WORDS = 512, 3583  # ids: 0 padding, 1 the end, 2.. the counts from n1, then the words
MEAN, CV = 32, 0.6
LAYERS, HIDDEN = 8, 320
TEMPLATE = "{%- for message in messages -%}{{- message['content'] -}}{%- endfor -%}"
Row = tuple[str, int]


def rows_of(count: int, *, own: int, seed: int, shared: int = 0, answer: int | None = None) -> list[Row]:
    """Return prompts and the tokens that answer each: log-normal lengths, or always `answer`."""
    draw = random.Random(seed)
    sigma = math.sqrt(math.log(1 + CV**2))
    start = [f"w{draw.randrange(WORDS)}" for _ in range(shared)]
    rows = []
    for _ in range(count):
        length = answer or min(COUNTS - 1, max(1, round(draw.lognormvariate(math.log(MEAN) - sigma**2 / 2, sigma))))
        words = [f"w{draw.randrange(WORDS)}" for _ in range(own - 1 if shared else draw.randint(own // 2, own * 3 // 2))]
        rows.append((" ".join([*start, *words, f"n{length}"]), length))
    return rows


def write_model(folder: Path) -> Path:
    """Write the model that counts down, with its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    names = ["<pad>", "<end>", *(f"n{count}" for count in range(1, COUNTS)), *(f"w{word}" for word in range(WORDS))]
    tokenizer = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<end>", "pad_token": "<pad>", "padding_side": "left"}
    (folder / "tokenizer_config.json").write_text(json.dumps(told), "utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(names), hidden_size=HIDDEN, intermediate_size=896, num_hidden_layers=LAYERS, num_attention_heads=5,
        num_key_value_heads=1, max_position_embeddings=2048, tie_word_embeddings=False, bos_token_id=None, eos_token_id=1,
        pad_token_id=0,
    ))  # fmt: skip
    with torch.no_grad():
        model.model.embed_tokens.weight.normal_()
        model.lm_head.weight.zero_()
        model.lm_head.weight[1:COUNTS] = model.model.embed_tokens.weight[2 : COUNTS + 1]
    model.save_pretrained(folder)
    return folder


def expected(length: int) -> list[int]:
    """Return the ids of an answer: the counts below `length`, and the end."""
    return list(range(length, 0, -1))
