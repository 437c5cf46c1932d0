"""What can be wrong with a checkpoint before anything is converted; each check takes milliseconds."""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pillm
from pillm_llamacpp.converting.pretokenizer import derive

CONVERT_REMEDY = "pip install 'pillm-llamacpp[convert]'"


@dataclass(frozen=True, slots=True)
class Findings:
    """What the checks learnt: the derived pre-tokenizer and the tokens that end an answer."""

    pre: str | None
    stops: tuple[str, ...]


def check_tools() -> None:
    """Raise MissingDependency where the converter's own dependencies are not installed."""
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        raise pillm.MissingDependency(
            f"the converter needs {' and '.join(missing)}. Nothing was written. Get it with: {CONVERT_REMEDY}"
        )


def check(checkpoint: pillm.Checkpoint, tree: Path, quants: tuple[str, ...] = ()) -> Findings:
    """Return what the converter must be told.

    Raises DataError, naming the folder, where the model cannot be exported, UnsafeError where reading it would run
    code, ConfigError where a quantisation is not for it.
    """
    folder = checkpoint.path
    config = checkpoint.config
    settings = _json(folder / "tokenizer_config.json") or {}
    _refuse_code(folder, {"config.json": config, "tokenizer_config.json": settings})
    architectures = config.get("architectures") or []
    known = architectures_of(tree)
    if not any(name in known for name in architectures):
        raise pillm.DataError(
            f"{folder}: llama.cpp does not know the architecture {', '.join(map(str, architectures)) or '(none named)'} "
            f"of config.json. It knows {len(known)}, among them Llama, Qwen2, Qwen3, Gemma and SmolLM3."
        )
    _check_weights(folder)
    if "MXFP4_MOE" in quants and not _has_experts(config):
        raise pillm.ConfigError(
            f"MXFP4_MOE packs the experts of a model, and {folder} has none: the file would be a larger Q8_0. "
            "Ask for Q4_K_M or IQ4_NL instead."
        )
    if not _has_template(folder, settings):
        raise pillm.DataError(
            f"{folder} has no chat template (chat_template.jinja); a device could not be told how to ask the model. "
            "Train it with one, or add the template of its base model."
        )
    tokenizer = _json(folder / "tokenizer.json")
    if tokenizer is not None:
        _check_texts(tokenizer, folder)
    return Findings(derive(tokenizer) if tokenizer else None, _stops(checkpoint, settings))


def _refuse_code(folder: Path, files: dict[str, dict[str, Any]]) -> None:
    for name, content in files.items():
        if "auto_map" in content:
            raise pillm.UnsafeError(
                f"{folder} wants to run its own Python code (auto_map in {name}); pillm never does that. If transformers has "
                "this architecture and tokenizer itself, remove auto_map from the file and export again."
            )


def _check_weights(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    if pickles:
        raise pillm.UnsafeError(
            f"{folder} holds its weights as a pickle ({pickles[0]}), which can run code when it is read; pillm never does "
            "that. Save the model as *.safetensors and export again."
        )
    raise pillm.DataError(f"{folder} holds no weights (*.safetensors).")


@cache
def architectures_of(tree: Path) -> frozenset[str]:
    """Return the architectures that the converter knows, read from its source without running it."""
    module = ast.parse((tree / "conversion" / "__init__.py").read_text("utf-8"))
    for node in module.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "TEXT_MODEL_MAP":
            return frozenset(ast.literal_eval(node.value)) if node.value else frozenset()
    return frozenset()


def _has_experts(config: dict[str, Any]) -> bool:
    settings = {**config, **(config.get("text_config") or {})}
    return any("experts" in name and isinstance(value, int) and value > 1 for name, value in settings.items())


def _json(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise pillm.DataError(f"{path} cannot be read: {error}") from error
    return found if isinstance(found, dict) else None


def _has_template(folder: Path, settings: dict[str, Any]) -> bool:
    files = ("chat_template.jinja", "chat_template.json")
    return bool(settings.get("chat_template")) or any((folder / name).is_file() for name in files)


def _check_texts(tokenizer: dict[str, Any], folder: Path) -> None:
    """Refuse two ids of one text: llama.cpp aborts on them."""
    vocabulary = (tokenizer.get("model") or {}).get("vocab")
    ids: dict[str, int] = dict(vocabulary) if isinstance(vocabulary, dict) else {}
    for token in tokenizer.get("added_tokens") or []:
        if ids.setdefault(token["content"], token["id"]) != token["id"]:
            raise pillm.DataError(
                f"{folder}/tokenizer.json: tokens {ids[token['content']]} and {token['id']} have the same text "
                f"{token['content']!r}; llama.cpp would abort on it. Train the tokenizer again without the repeated token."
            )


def _stops(checkpoint: pillm.Checkpoint, settings: dict[str, Any]) -> tuple[str, ...]:
    """Return the texts of the tokens that end an answer: the contract's, else the tokenizer's end token."""
    stops = checkpoint.contract.get("stop_tokens")
    if stops:
        return tuple(map(str, stops))
    eos = settings.get("eos_token")
    text = eos.get("content") if isinstance(eos, dict) else eos
    return (str(text),) if text else ()
