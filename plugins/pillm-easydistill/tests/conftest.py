"""A tiny real base, rows, and stand-ins for the versions of EasyDistill, put on the path of child processes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import pillm

STANDINS = Path(__file__).with_name("standin")
TEMPLATE = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') -}}
{%- for call in message['tool_calls'] or [] -%}
{{- '<call>' + (call['function'] | tojson) + '</call>' -}}
{%- endfor -%}
{{- '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
WORDS = ["fin", "lac", "pont", "neige", "érable", "minuit", "rouge", "onze", "matin", "livre", "train", "chat"]
ROWS = [(one, two.upper()) for one, two in zip(WORDS, WORDS[1:] + WORDS[:1], strict=True)]


def train_tokenizer(folder: Path) -> int:
    """Write a tokenizer as transformers 5 does and return the size of its vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=[AddedToken(text, special=True) for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*(text for row in ROWS for text in row), "user assistant system"] * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "TokenizersBackend",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "extra_special_tokens": ["<|im_start|>"],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 256,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), "utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    return tokenizer.get_vocab_size()


def make_base(folder: Path, *, dtype: str = "bfloat16") -> Path:
    """Write a random model folder: two layers, 64 wide."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder.mkdir(parents=True)
    shape: dict[str, Any] = {
        "vocab_size": train_tokenizer(folder), "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "tie_word_embeddings": True,
        "initializer_range": 0.2, "bos_token_id": None, "pad_token_id": 0, "eos_token_id": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
    }  # fmt: skip
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**shape))
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    sampling = {"temperature": 0.7, "eos_token_id": 2}  # transformers 4 refuses to save a model with these
    (folder / "generation_config.json").write_text(json.dumps(sampling), "utf-8")
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "tiny-qwen")


@pytest.fixture
def standin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return the installer of a stand-in, for children of this test: standin("v1", fault="crash")."""

    def install(version: str, *, fault: str = "") -> Path:
        folder = tmp_path / f"checkout-{version}"
        shutil.copytree(STANDINS / version, folder)
        monkeypatch.setenv("PYTHONPATH", str(folder))
        monkeypatch.setenv("STANDIN_FAULT", fault)
        return folder

    return install


@pytest.fixture
def rows(tmp_path: Path) -> Callable[[list[Any]], pillm.Rows]:
    """Return a maker of `Rows` on disk from (user, assistant) pairs or whole rows."""
    made = iter(range(1000))

    def write(pairs: list[Any]) -> pillm.Rows:
        path = tmp_path / f"rows-{next(made)}.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for number, pair in enumerate(pairs):
                row = pair if isinstance(pair, dict) else {
                    "id": f"r{number}",
                    "messages": [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}],
                }  # fmt: skip
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        return pillm.Rows(path)

    return write


@pytest.fixture
def data(rows: Callable[[list[Any]], pillm.Rows]) -> pillm.TrainingData:
    probes = tuple(pillm.Prompt(id=f"p{at}", messages=({"role": "user", "content": ask},)) for at, (ask, _) in enumerate(ROWS))
    return pillm.TrainingData(train=rows(ROWS), validation=rows(ROWS[:2]), calibration=rows(ROWS[:2]), probes=probes, seed=3)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return the folder that a trainer writes to; it lies under a name that a shell would take apart."""
    folder = tmp_path / "a run; with spaces" / "train"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiny models gain nothing from a second thread."""
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
