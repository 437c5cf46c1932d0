"""A student of Qwen2's shape with random weights, and chat rows to train it on; both are made once and kept.

Every byte is one token, so lengths are known beforehand, and all ids lie in a vocabulary that is as large as Qwen2's. The
weights of the tied head are wide enough that a loss over other tokens than the answers' would be seen.
"""

from __future__ import annotations

import json
import math
import random
import string
from pathlib import Path

VOCABULARY, HIDDEN, INTERMEDIATE, HEADS, KV_HEADS = 151_936, 896, 4864, 14, 2
MOST = 512  # tokens of the longest row
_TEMPLATE_TOKENS = 21  # of a user's and an assistant's turn, without what they say
_ANSWERED = 0.3  # share of the tokens that are learnt
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


def model_folder(layers: int, cache: Path) -> Path:
    """Return the folder of the student with that many layers, which is written where it is missing."""
    folder = cache / f"qwen2-shape-{layers}-layers"
    if not (folder / "config.json").is_file():
        draft = folder.with_name(f"{folder.name}.draft")
        draft.mkdir(parents=True, exist_ok=True)
        _write_tokenizer(draft)
        _write_model(draft, layers)
        draft.rename(folder)
    return folder


def write_rows(path: Path, count: int, seed: int) -> int:
    """Write chat rows of log-normal lengths, of which about 30 % is answer; return how many tokens they are."""
    draw, tokens = random.Random(seed), 0
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            length = min(MOST, max(64, round(draw.lognormvariate(math.log(210), 0.5))))
            answer = round(length * _ANSWERED * draw.uniform(0.5, 1.5))
            question = length - answer - _TEMPLATE_TOKENS
            said = [{"role": "user", "content": _text(draw, question)}, {"role": "assistant", "content": _text(draw, answer)}]
            file.write(json.dumps({"id": f"r{number}", "messages": said}) + "\n")
            tokens += length
    return tokens


def write_short_rows(path: Path, count: int) -> None:
    """Write rows of about a hundred tokens, on which both sides must find the same losses."""
    draw = random.Random(0)
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            said = (("user", _text(draw, 40 + 5 * number)), ("assistant", _text(draw, 40 - 5 * number)))
            messages = [{"role": role, "content": text} for role, text in said]
            file.write(json.dumps({"id": f"s{number}", "messages": messages}) + "\n")


def read_messages(path: Path) -> list[list[dict[str, str]]]:
    """Return the messages of each row."""
    return [json.loads(line)["messages"] for line in path.read_text("utf-8").splitlines()]


def lengths(messages: list[dict[str, str]]) -> tuple[int, int]:
    """Return how many tokens a row is, and how many of them are learnt: the answer and its end."""
    question, answer = (len(message["content"]) for message in messages)
    return question + answer + _TEMPLATE_TOKENS, answer + 1


def _text(draw: random.Random, length: int) -> str:
    """Return words of that many bytes, without space at either end."""
    text = ""
    while len(text) < length:
        text += "".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 9))) + " "
    return text[: length - 1] + "."


def _write_tokenizer(folder: Path) -> None:
    """Write a tokenizer with a token for each byte."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    names = [*_SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({name: index for index, name in enumerate(names)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in _SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    told = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 2048,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(told), "utf-8")
    (folder / "chat_template.jinja").write_text(_TEMPLATE, "utf-8")


def _write_model(folder: Path, layers: int) -> None:
    """Write random weights in bfloat16."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=INTERMEDIATE, num_hidden_layers=layers,
        num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, max_position_embeddings=2048, tie_word_embeddings=True,
        bos_token_id=None, pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        model.model.embed_tokens.weight.normal_(std=0.1)
    model.bfloat16().save_pretrained(folder)
