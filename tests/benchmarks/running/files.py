"""Model files to run: of a real size with random weights, and the trained nano student; each is made once and kept."""

from __future__ import annotations

import shutil
from pathlib import Path

from pillm_llamacpp import source
from pillm_llamacpp.quantizing.quantization import publish, quantize
from pillm_llamacpp.writing.writer import Writing, write

import pillm
from pillm.performance import pagecache
from tests.benchmarks.fitting import student
from tests.benchmarks.loopback.peers import folder

LAYERS = 24
PROMPTS = Path(__file__).parents[3] / "dataset" / "assistant" / "prompts.jsonl"


def real_size(quant: str) -> Path:
    """Return a file of Qwen2.5-0.5B's shape and width of vocabulary, with random weights."""
    model = student.model_folder(LAYERS, folder().parent / "students")
    return _file(model, quant, _texts(model))


def _texts(model: Path) -> Path:
    """Return a copy of the student's small files whose tokenizer joins letters: llama.cpp reads none without merges."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    texts = folder().parent / "benchmarks" / "files" / f"{model.name}-texts"
    if not (texts / "tokenizer.json").is_file():
        texts.mkdir(parents=True, exist_ok=True)
        for path in model.glob("*.*"):
            if path.suffix in (".json", ".jinja"):
                shutil.copy2(path, texts)
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=8000, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"], show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        )  # fmt: skip
        tokenizer.train_from_iterator((prompt.text for prompt in pillm.read_prompts(PROMPTS)), trainer)
        tokenizer.save(str(texts / "tokenizer.json"))
    return texts


def read_anew(file: Path) -> Path:
    """Let the system's memory hold a file as it does when it was just read: one that lay there for hours lies in pieces."""
    pagecache.drop(file)
    with file.open("rb") as content:
        while content.read(1 << 24):
            pass
    return file


def nano(quant: str) -> Path:
    """Return a file of the nano student that has learnt the bundled prompts."""
    from tests.benchmarks.quant_finish import labelled, trained

    home = folder().parent / "benchmarks" / "nano-student"
    trained_folder = home if (home / "manifest.json").is_file() else trained(labelled(), home, {}).path
    return _file(trained_folder, quant, trained_folder)


def _file(model: Path, quant: str, texts: Path) -> Path:
    path = folder().parent / "benchmarks" / "files" / f"{model.name}-{quant}.gguf"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        full, part = path.with_suffix(".F16"), path.with_suffix(".part")
        told = Writing(tree=str(source.require()), texts=str(texts), weights=str(model), derived="gpt-2", stops=("<|im_end|>",))
        write(told, {"F16": full}, pillm.Progress())
        if quant == "F16":
            full.replace(part)
        else:
            quantize(full, part, quant, threads=2, progress=pillm.Progress())
            full.unlink()
        publish(part, path)
    return path
