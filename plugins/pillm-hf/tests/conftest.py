"""Tiny real models: random weights, a byte-level BPE tokenizer trained here, a ChatML template with generation marks."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pillm_hf import HFTeacher

import pillm


# the tests are imported by path: this makes the modules that they share importable
def _shared(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"pillm_hf_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_taught = _shared("taught")
for _name in ("jobs", "givens"):
    _shared(_name)

MARKED = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- (message['content'] or '') + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
UNMARKED = MARKED.replace("{%- generation -%}", "").replace("{%- endgeneration -%}", "")

WORDS = [
    "fin", "lac", "pont", "neige", "tramway", "érable", "minuit", "gâteau", "rouge",
    "vert", "onze", "quatre", "matin", "soir", "livre", "train", "ville", "chat", "loup", "gare",
]  # fmt: skip
ROWS = [
    (f"{one} {two}", json.dumps({"mot": two, "nombre": number}, ensure_ascii=False))
    for number, (one, two) in enumerate(zip(WORDS, WORDS[1:] + WORDS[:1], strict=True))
]


def train_tokenizer(folder: Path, template: str | None) -> int:
    """Write a tokenizer into a folder and return the size of its vocabulary."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[AddedToken(text, special=True) for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*(text for row in ROWS for text in row), "user assistant system"] * 4, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 256,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2), "utf-8")
    if template:
        (folder / "chat_template.jinja").write_text(template, "utf-8")
    return tokenizer.get_vocab_size()


def make_model(
    folder: Path, *, template: str | None = MARKED, kind: str = "llama", dtype: str = "float32", seed: int = 0
) -> Path:
    """Write a random model folder: two layers, 64 wide."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    folder.mkdir(parents=True)
    size = train_tokenizer(folder, template)
    shape = {
        "vocab_size": size, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 256, "tie_word_embeddings": True, "initializer_range": 0.2,
        "bos_token_id": None, "pad_token_id": 0, "eos_token_id": 2,
    }  # fmt: skip
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**shape)) if kind == "llama" else Qwen2ForCausalLM(Qwen2Config(**shape))
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    return folder


_COMMON = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "initializer_range": 0.3, "bos_token_id": None, "pad_token_id": 0,
    "eos_token_id": 2,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 8},
    "qwen2": {},
    "qwen3": {"head_dim": 12},
    "smollm3": {},
    "gemma2": {"head_dim": 8, "sliding_window": 8},
    "gemma3_text": {"head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "phi3": {},
    "granite": {"attention_multiplier": 0.3},
    "olmo2": {},
}


def make_student(kind: str, dtype: str = "float32") -> Any:
    """Return a tiny model of a kind that people distil into, with random weights, ready to train."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **_COMMON | KINDS[kind])
    return AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype), attn_implementation="eager").train()


def take_gradients(model: Any) -> tuple[float, dict[str, Any]]:
    """Return a model's loss on some tokens, and the gradients of all that it learns."""
    ids = some_tokens()
    model.zero_grad(set_to_none=True)
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    return loss.item(), {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}


def some_tokens(rows: int = 3, width: int = 21) -> Any:
    """Return token ids [rows, width]."""
    import torch

    return torch.randint(3, 96, (rows, width), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def make() -> Callable[..., Path]:
    """Return the maker of tiny model folders: make(folder, template=..., kind=..., dtype=..., seed=...)."""
    return make_model


@pytest.fixture(scope="session")
def pairs() -> list[tuple[str, str]]:
    """Return twenty (question, answer) pairs."""
    return ROWS


@pytest.fixture(scope="session")
def unmarked() -> str:
    """Return the ChatML template without generation marks."""
    return UNMARKED


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("base") / "tiny-llama")


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("qwen") / "tiny-qwen", kind="qwen2", template=UNMARKED, dtype="bfloat16")


@pytest.fixture
def prompts() -> list[pillm.Prompt]:
    return [pillm.Prompt(id=f"p{number}", messages=({"role": "user", "content": ask},)) for number, (ask, _) in enumerate(ROWS)]


@pytest.fixture
def requests(prompts: list[pillm.Prompt]) -> list[pillm.Request]:
    return [pillm.Contract().request(prompt, {"use": "test"}) for prompt in prompts]


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., pillm.Rows]:
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
def data(rows: Callable[..., pillm.Rows], prompts: list[pillm.Prompt]) -> pillm.TrainingData:
    return pillm.TrainingData(
        train=rows(ROWS), validation=rows(ROWS[:4]), calibration=rows(ROWS[:3]), probes=tuple(prompts), seed=3
    )


@pytest.fixture
def student_of() -> Callable[..., Any]:
    """Return a maker of tiny students by kind."""
    return make_student


@pytest.fixture
def gradients() -> Callable[[Any], tuple[float, dict[str, Any]]]:
    """Return what gives a model's loss and gradients."""
    return take_gradients


@pytest.fixture
def tokens() -> Callable[..., Any]:
    """Return a maker of token ids."""
    return some_tokens


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test here that reached for a hub would fail, not wait; the tests of other plugins are left alone."""
    from huggingface_hub import constants

    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # it read the variable when it was imported


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tiny models gain nothing from a second thread, and on a busy machine the threads would wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def teacher(make: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model that says other things than the student, with columns that only pad its vocabulary."""
    folder = make(tmp_path_factory.mktemp("teacher") / "tiny", seed=8)
    return _taught.widened(folder, folder.parent / "wide", 384)


@pytest.fixture
def taught(data: pillm.TrainingData, teacher: Path, pairs: list[tuple[str, str]]) -> pillm.TrainingData:
    """Return the twenty rows with all that a distillation may ask for."""
    return replace(data, teacher=HFTeacher(model=str(teacher)), stored=_taught.stored(teacher, pairs))
